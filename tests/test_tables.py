"""Tables and JSON files as people read them: six significant digits, and what is never rounded."""

import json

import pytest

from offramp.project.files import significant, write_json
from offramp.project.tables import read_table, records, write_table

COLUMNS = ["class", "samples", "share", "threshold", "feasible"]


def test_a_table_keeps_whole_numbers_truth_values_and_gaps(tmp_path):
    rows = [
        {"class": "7", "samples": 3, "share": 1 / 3, "threshold": 0.123456789012, "feasible": True},
        {"class": "NA", "samples": 10**12, "feasible": False},
        {"class": "07", "samples": 1},
    ]
    write_table(tmp_path / "t.csv", COLUMNS, rows)
    text = (tmp_path / "t.csv").read_text().splitlines()
    assert text[1:] == ["7,3,0.333333,0.123456789012,True", "NA,1000000000000,,,False", "07,1,,,"]
    again = records(read_table(tmp_path / "t.csv", text=["class"]))
    assert [row["class"] for row in again] == ["7", "NA", "07"]
    assert [row["feasible"] for row in again] == [True, False, None]
    assert (again[0]["share"], again[1]["share"]) == (0.333333, None)


def test_without_rows_there_is_a_header_and_an_unknown_column_is_refused(tmp_path):
    write_table(tmp_path / "t.csv", COLUMNS, [])
    assert (tmp_path / "t.csv").read_text() == ",".join(COLUMNS) + "\n"
    assert records(read_table(tmp_path / "t.csv")) == []
    with pytest.raises(ValueError, match=r"t\.csv has no column more"):
        write_table(tmp_path / "t.csv", COLUMNS, [{"more": 1}])


def test_json_rounds_fractions_and_never_thresholds_costs_or_whole_numbers(tmp_path):
    value = {
        "accuracy": 2 / 3,
        "samples": 123456789,
        "mmacs": 38.946048123,
        "thresholds": {"exit_1": 0.1234567891, "exit_2": None},
        "exits": [{"share": 1e-9 / 3}],
    }
    write_json(tmp_path / "v.json", value, digits=6)
    rounded = {"accuracy": 0.666667, "exits": [{"share": 3.33333e-10}]}
    assert json.loads((tmp_path / "v.json").read_text()) == value | rounded
    write_json(tmp_path / "v.json", value)
    assert json.loads((tmp_path / "v.json").read_text()) == value


@pytest.mark.parametrize(("value", "expected"), [(0.0, 0.0), (123456.7, 123457.0), (-1e-300 / 3, -3.33333e-301)])
def test_significant_digits_are_counted_from_the_first(value, expected):
    assert significant(value) == expected
