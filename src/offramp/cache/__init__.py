"""The logit cache: Parquet, per split, every exit's logits for every sample.

Columns `sample` int64 (unique), `label` int64 (null where unknown), `exit_1` … `exit_E` lists of `classes` floats;
metadata key `offramp`, JSON, with at least `schema_version` 1. A directory of such files is the same table. Readers
stream: no split's logits are ever held whole.
"""
