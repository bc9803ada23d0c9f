"""data/probes.parquet: what nearest neighbours answer after every segment, for some test images.

Columns `sample` int64, `answer` int64 (the network's own) and `exit_1` … `exit_E` int64 (the vote after each segment);
metadata key `offramp`, JSON: `schema_version`, `neighbours` that voted and the `support`, the number of training images
they come from.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from offramp.project.errors import InputError
from offramp.project.files import replacing

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class ProbeTable:
    """Sample ids (samples,), the network's answers (samples,), the neighbours' (samples, exits), and who voted."""

    sample: NDArray[np.int64]
    answer: NDArray[np.int64]
    votes: NDArray[np.int64]
    neighbours: int
    support: int


def write_probes(path: Path, table: ProbeTable) -> None:
    about = {"schema_version": SCHEMA_VERSION, "neighbours": table.neighbours, "support": table.support}
    columns = {"sample": table.sample, "answer": table.answer}
    columns |= {f"exit_{k}": column for k, column in enumerate(table.votes.T, start=1)}
    content = pa.table(columns).replace_schema_metadata({"offramp": json.dumps(about)})
    with replacing(path) as temporary:
        pq.write_table(content, temporary)


def read_probes(path: Path, exits: list[str]) -> ProbeTable:
    """Return the table at `path`. Raises InputError for a missing or foreign file, and for one of other exits."""
    try:
        content = pq.read_table(path)
    except FileNotFoundError:
        raise InputError(f"there is no {path}; run `dvc repro studies/depth/dvc.yaml:probe`") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path} is not a readable Parquet file: {' '.join(str(error).split())}") from None
    columns = ["sample", "answer", *exits]
    metadata = content.schema.metadata or {}
    if content.schema.names != columns or b"offramp" not in metadata:
        raise InputError(
            f"{path} must have the columns {', '.join(columns)}; it has {', '.join(content.schema.names)}: "
            "run `dvc repro studies/depth/dvc.yaml:probe`"
        )
    about = json.loads(metadata[b"offramp"])
    votes = np.stack([content.column(name).to_numpy() for name in exits], axis=1)
    sample, answer = (content.column(name).to_numpy() for name in ("sample", "answer"))
    return ProbeTable(sample, answer, votes, about["neighbours"], about["support"])
