"""A selected policy on rows that nothing was chosen on."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cases.recheck import draw

from offramp.cache.writing import write_logits
from offramp.check import MissingLabelsError, recheck_fresh
from offramp.project.errors import InputError


def test_fresh_rows_hold_or_do_not_confirm_or_contradict(recheck_folder, tmp_path):
    write_logits(tmp_path / "good.parquet", *draw(1, 4000))
    write_logits(tmp_path / "few.parquet", *draw(2, 60))
    write_logits(tmp_path / "bad.parquet", *draw(3, 2000, strength=(0.0, 0.0, 9.0)))
    reports = [
        recheck_fresh(recheck_folder / "plain.json", tmp_path / f"{name}.parquet") for name in ("good", "few", "bad")
    ]
    assert "holds at delta 0.1" in reports[0].text
    assert "not confirmed on these rows (that does not refute it: were it as good" in reports[1].text
    assert "CONTRADICTED" in reports[2].text
    assert [report.passed for report in reports] == [True, True, False]
    assert [report.n for report in reports] == [4000, 60, 2000]


@pytest.mark.parametrize("name", ["certified_overall@0.75", "certified_per_exit@0.8", "shared@0.8", "certified@0.0001"])
def test_every_method_can_be_tested_on_fresh_rows(recheck_folder, tmp_path, name):
    content = json.loads((recheck_folder / "plain.json").read_text())
    for entry in content["policies"]:
        entry["selected"] = entry["name"] == name
    (tmp_path / "p.json").write_text(json.dumps(content))
    for seed, strength in ((1, (4.0, 6.0, 8.0)), (3, (0.0, 0.0, 0.0))):
        write_logits(tmp_path / "fresh.parquet", *draw(seed, 3000, strength))
        report = recheck_fresh(tmp_path / "p.json", tmp_path / "fresh.parquet")
        claims = name.startswith("certified_")
        assert report.passed == (not claims or seed == 1), report.text
        assert ("no claim to test" in report.text) == (not claims)


def test_fresh_rows_must_be_fresh_and_labelled_where_it_matters(recheck_folder, tmp_path):
    policies, val = recheck_folder / "plain.json", recheck_folder / "val.parquet"
    logits, label = draw(4, 500)
    old, _ = draw(5, 1500)
    mixed = logits.copy()
    mixed[:3] = old[:3]
    write_logits(tmp_path / "mixed.parquet", mixed, label)
    write_logits(tmp_path / "fresh.parquet", logits, label)
    recheck_fresh(policies, tmp_path / "fresh.parquet", val)  # ids alone are no reason
    with pytest.raises(InputError, match=r"3 rows .* also stand in"):
        recheck_fresh(policies, tmp_path / "mixed.parquet", val)
    table = pq.read_table(tmp_path / "fresh.parquet")
    unknown = table.set_column(table.schema.get_field_index("label"), "label", pa.nulls(500, pa.int64()))
    pq.write_table(unknown, tmp_path / "unknown.parquet")
    with pytest.raises(
        MissingLabelsError, match=r"\d+ rows that this test needs a label of have none: sample "
    ) as error:
        recheck_fresh(policies, tmp_path / "unknown.parquet")
    assert str(error.value).startswith(f"{tmp_path}/unknown.parquet: {len(error.value.samples)} rows")
