"""Cache every exit's INT8 logits of a split: `python stages/logits_int8.py val` makes data/logits_int8/val.parquet."""

import sys
from pathlib import Path

from offramp.errors import InputError
from offramp.inference import fill_cache
from offramp.params.compute import Compute
from offramp.params.logits import Logits
from offramp.params.reading import StageParams
from offramp.prepared import read_split
from offramp.runtime.engines import graph_description, open_engine, provenance
from offramp.stage import run

ENGINE = "onnx_int8"
SPLITS = ("val", "test")


class Params(StageParams):
    compute: Compute
    logits: Logits


def main() -> None:
    if sys.argv[1:] not in [[split] for split in SPLITS]:
        raise InputError(f"give one split, {' or '.join(SPLITS)}; got {' '.join(sys.argv[1:]) or 'none'}")
    name = sys.argv[1]
    params = Params.read()
    batch_size, dtype = params.logits.batch_size, params.logits.dtype
    engine = open_engine(ENGINE, params.compute.threads, params.compute.device)
    split = read_split(Path(f"data/prepared/{name}.parquet"))
    exits = graph_description(ENGINE)["exits"]
    metadata = {"split": name, "dataset": split.dataset, "classes": split.classes, "exits": exits}
    metadata |= provenance(ENGINE) | {"engine": ENGINE, "batch_size": batch_size}
    path = Path(f"data/logits_int8/{name}.parquet")
    seconds = fill_cache(engine.exit_logits, len(exits), split, path, batch_size, dtype, metadata)
    print(f"{split.rows} images in {seconds.whole:.1f} s, of which forward {seconds.forward:.1f} s")


if __name__ == "__main__":
    run(main)
