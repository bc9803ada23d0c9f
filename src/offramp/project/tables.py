"""Tidy tables as CSV files, by pandas: one observation a row, an empty cell where a value does not exist.

Floats are written with six significant digits, as far as columns are not exact (`project.files.EXACT`); truth values
are True and False in the file and bool in memory.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from offramp.project.files import DIGITS, rounded_values, write_text


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows under `columns`. A row may lack a column (an empty cell) but may not have others (ValueError)."""
    content = [rounded_values(row, DIGITS) for row in rows]
    unknown = {key for row in content for key in row} - set(columns)
    if unknown:
        raise ValueError(f"{path.name} has no column {', '.join(sorted(unknown))}")
    frame = pd.DataFrame(content, columns=list(columns), dtype=object)  # object: whole numbers stay whole beside gaps
    write_text(path, frame.to_csv(index=False, lineterminator="\n"))


def read_table(path: Path, text: Sequence[str] = ()) -> pd.DataFrame:
    """Return a table; an empty cell is missing (NaN). Columns in `text` are words: a class may be called 7."""
    return pd.read_csv(path, dtype=dict.fromkeys(text, str), keep_default_na=False, na_values=[""])


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as dictionaries, None where a value is missing."""
    return [
        {str(key): None if pd.isna(value) else value for key, value in row.items()} for row in frame.to_dict("records")
    ]
