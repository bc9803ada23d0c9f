import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import SHARED, random_logits, read_entropy

import offramp
from offramp.cache.reading import UNKNOWN, open_cache
from offramp.calibration.folds import deal
from offramp.policies.outcomes import read_outcomes, require_every_class
from offramp.project.errors import InputError
from offramp.scores.scoring import Scoring
from offramp.scores.softmax import entropy


@pytest.fixture
def written(tmp_path, rng):
    logits, labels = random_logits(rng)
    offramp.write_logits(tmp_path / "val.parquet", logits, labels, classes=["a", "b", "c", "d"])
    return tmp_path / "val.parquet", logits, labels


def rewrite(path, change):
    """Write the table again after `change`, which gets columns and metadata and returns them."""
    table = pq.read_table(path)
    columns = {name: table.column(name).combine_chunks() for name in table.column_names}
    about = json.loads(table.schema.metadata[b"offramp"])
    columns, about = change(columns, about)
    metadata = {} if about is None else {"offramp": about if isinstance(about, str) else json.dumps(about)}
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)


def test_a_written_cache_is_read_back(written):
    path, logits, labels = written
    cache = open_cache(path)
    rows = list(cache.read())
    assert (cache.n_rows, cache.n_classes, cache.exits) == (50, 4, ["exit_1", "exit_2", "exit_3"])
    assert cache.class_names == ["a", "b", "c", "d"]
    assert np.array_equal(np.concatenate([part.logits for part in rows]), logits)
    assert np.array_equal(np.concatenate([part.label for part in rows]), labels)
    table = pq.read_table(path)
    assert table.schema.field("exit_1").type == pa.list_(pa.field("element", pa.float32(), nullable=False), 4)
    assert table.schema.field("label").type == pa.int64()


def test_outcomes_equal_a_plain_computation(written):
    path, logits, labels = written
    outcomes = read_outcomes(open_cache(path), Scoring("entropy", {"exit_1": 1.0, "exit_2": 2.0, "exit_3": 1.0}))
    assert np.array_equal(outcomes.correct, logits.argmax(2) == labels[:, None])
    assert outcomes.uncertainty[:, 1] == pytest.approx(entropy(logits[:, 1].astype(float) / 2))


@pytest.mark.parametrize("kind", [pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.float16(), 4)])
def test_other_list_types_are_read_too(written, kind):
    path, logits, _ = written

    def cast(columns, about):
        lists = {
            name: pa.array([list(row) for row in logits[:, k].astype(kind.value_type.to_pandas_dtype())], kind)
            for k, name in enumerate(["exit_1", "exit_2", "exit_3"])
        }
        return columns | lists, about

    rewrite(path, cast)
    read = np.concatenate([part.logits for part in open_cache(path).read()])
    assert read == pytest.approx(logits, rel=2e-3, abs=1e-3)


def test_a_directory_of_files_is_one_table(tmp_path, rng):
    logits, labels = random_logits(rng)
    for part, rows in enumerate([slice(0, 20), slice(20, 50)]):
        path = tmp_path / "parts" / f"{part}.parquet"
        offramp.write_logits(path, logits[rows], labels[rows])
        rewrite(path, lambda c, a, start=rows.start: (c | {"sample": pa.array(np.arange(len(c["label"])) + start)}, a))
    outcomes = read_entropy(tmp_path / "parts")
    assert len(outcomes) == 50
    assert np.array_equal(outcomes.correct, logits.argmax(2) == labels[:, None])


def test_unknown_labels_are_null_in_the_file_and_refused_where_they_are_needed(tmp_path, rng):
    logits, labels = random_logits(rng, n=5)
    path = tmp_path / "val.parquet"
    offramp.write_logits(path, logits, [None, *labels[1:].tolist()])
    assert pq.read_table(path).column("label").null_count == 1
    assert next(open_cache(path).read()).label[0] == UNKNOWN
    with pytest.raises(InputError, match="1 of 5 labels are null, the first at row 0"):
        read_entropy(path)
    assert not read_entropy(path, labels_required=False).correct[0].any()


def replace_column(name, make):
    return lambda columns, about: (columns | {name: make(columns[name])}, about)


def drop(name):
    return lambda columns, about: ({key: value for key, value in columns.items() if key != name}, about)


def with_value(value, row=7):
    def make(column):
        lists = column.to_pylist()
        lists[row][2] = value
        return pa.array(lists, pa.list_(pa.float32(), 4))

    return make


BROKEN = [
    (drop("sample"), "no column 'sample'"),
    (drop("label"), "no column 'label'"),
    (drop("exit_2"), "without a gap; found: exit_1, exit_3"),
    (
        replace_column("label", lambda c: pa.array([str(x) for x in c.to_pylist()])),
        "'label' must be int64; it is string",
    ),
    (replace_column("label", lambda c: pa.array([9, *c.to_pylist()[1:]])), "'label' is 9 at row 0; labels are 0 to 3"),
    (replace_column("label", lambda c: pa.array([-1, *c.to_pylist()[1:]])), "'label' is -1 at row 0"),
    (replace_column("sample", lambda c: pa.array([3, *c.to_pylist()[1:]])), "holds 3 at rows 0 and 3"),
    (replace_column("exit_1", lambda c: pa.array([1.0] * len(c))), "'exit_1' must be lists of floats"),
    (replace_column("exit_2", with_value(float("nan"))), "'exit_2' is not finite .* at row 7"),
    (replace_column("exit_2", with_value(float("inf"))), "'exit_2' is not finite .* at row 7"),
    (replace_column("exit_2", with_value(None)), "'exit_2' is not finite .* at row 7"),
    (
        replace_column("exit_3", lambda c: pa.array([*c.to_pylist()[:9], None, *c.to_pylist()[10:]], c.type)),
        "'exit_3' is null at row 9",
    ),
    (
        replace_column(
            "exit_3", lambda c: pa.array([*c.to_pylist()[:9], [1.0], *c.to_pylist()[10:]], pa.list_(pa.float32()))
        ),
        "'exit_3' has another number of logits at row 9",
    ),
    (lambda c, _: (c, None), "no metadata key 'offramp'"),
    (lambda c, _: (c, "{"), "is not JSON"),
    (lambda c, a: (c, a | {"schema_version": 2}), "schema_version must be 1; it is 2"),
    (lambda c, a: (c, a | {"classes": ["a"]}), "names 1 classes, the lists hold 4"),
    (lambda c, a: (c, a | {"exits": ["exit_1"]}), "metadata names exits"),
    (lambda c, a: ({key: value[:0] for key, value in c.items()}, a), "zero rows"),
]


@pytest.mark.parametrize(("change", "message"), BROKEN, ids=[message for _, message in BROKEN])
def test_what_breaks_the_contract_is_named_in_one_line(written, change, message):
    path, *_ = written
    rewrite(path, change)
    with pytest.raises(InputError, match=message) as error:
        read_entropy(path)
    assert "val.parquet" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"x" * 100])
def test_a_file_that_is_no_parquet_is_refused(tmp_path, content):
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(InputError, match="not a readable Parquet file"):
        open_cache(tmp_path / "x.parquet")


def test_a_truncated_file_is_refused(written):
    path, *_ = written
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match="not a readable Parquet file"):
        open_cache(path)


def test_a_missing_file_and_an_empty_directory_are_refused(tmp_path):
    with pytest.raises(InputError, match="no logit cache"):
        open_cache(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"without \.parquet files"):
        open_cache(tmp_path)


@pytest.mark.parametrize(
    ("logits", "labels", "classes", "message"),
    [
        (np.zeros((3, 2)), [0, 1, 0], None, "must be \\(samples, exits, classes\\)"),
        (np.zeros((3, 2, 1)), [0, 0, 0], None, "at least"),
        (np.zeros((0, 2, 2)), [], None, "at least"),
        (np.zeros((3, 2, 2)), [0, 1], None, "labels must be 3"),
        (np.zeros((3, 2, 2)), [0, 1, 2], None, "labels\\[2\\] is 2"),
        (np.zeros((3, 2, 2)), [0, 1, -1], None, "labels\\[2\\] is -1"),
        (np.zeros((3, 2, 2)), [0.0, 1.0, 0.5], None, "whole numbers"),
        (np.full((3, 2, 2), np.nan), [0, 1, 1], None, "sample 0 at exit_1"),
        (np.full((3, 2, 2), 1e300), [0, 1, 1], None, "finite in float32"),
        (np.zeros((3, 2, 2)), [0, 1, 1], ["one"], "classes must hold 2 names"),
    ],
)
def test_write_logits_refuses_what_nobody_could_read(tmp_path, logits, labels, classes, message):
    with pytest.raises(InputError, match=message):
        offramp.write_logits(tmp_path / "x.parquet", logits, labels, classes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([1, 2], "samples must be 3 whole numbers that fit int64, one per row; got int64 of shape \\(2,\\)"),
        ([1, 2, 2.5], "got float64"),
        ([True, False, True], "got bool"),
        ([1, 2, 2**63], "fit int64"),
        (np.array([1, 2, 2**63], np.uint64), "fit int64"),
        ([7, 5, 7], "samples must be unique; 7 stands there 2 times"),
    ],
)
def test_ids_that_are_no_ids_are_refused(tmp_path, samples, message):
    with pytest.raises(InputError, match=message):
        offramp.write_logits(tmp_path / "x.parquet", np.zeros((3, 2, 2)), [0, 1, 0], samples=samples)
    assert list(tmp_path.iterdir()) == []


def test_ids_of_ones_own_keep_a_row_in_its_fold_whatever_the_order(tmp_path, rng):
    logits, labels = random_logits(rng, n=50)
    ids = rng.choice(2**40, 50, replace=False) - 2**39
    order = rng.permutation(50)
    offramp.write_logits(tmp_path / "a.parquet", logits, labels, samples=ids)
    offramp.write_logits(tmp_path / "b.parquet", logits[order], labels[order], samples=ids[order].tolist())
    first, second = read_entropy(tmp_path / "a.parquet"), read_entropy(tmp_path / "b.parquet")
    assert first.sample.tolist() == ids.tolist()
    assert second.sample.tolist() == ids[order].tolist()
    assert second.uncertainty.tolist() == first.uncertainty[order].tolist()
    tunes = [set(deal(outcomes, 0.3, 17)[0].rows.sample.tolist()) for outcomes in (first, second)]
    assert tunes[0] == tunes[1] != set()


def test_a_class_absent_from_validation_is_named(tmp_path, rng):
    logits, labels = random_logits(rng)
    offramp.write_logits(tmp_path / "val.parquet", logits[labels != 2], labels[labels != 2], ["a", "b", "cat", "d"])
    with pytest.raises(InputError, match="no sample of class 'cat'"):
        require_every_class(read_entropy(tmp_path / "val.parquet"), "val")


@pytest.mark.skipif(not SHARED.exists(), reason="the given network's logits are not here")
def test_the_given_cache_keeps_the_contract():
    outcomes = read_entropy(SHARED / "branchynet-cifar10-test-logits.parquet")
    assert outcomes.correct.mean(axis=0) == pytest.approx([0.592, 0.681, 0.702, 0.728, 0.757, 0.774], abs=0.001)


def test_labels_of_an_unsigned_type_may_be_null(tmp_path, rng):
    offramp.write_logits(tmp_path / "c.parquet", *random_logits(rng, n=4))
    table = pq.read_table(tmp_path / "c.parquet")
    label = pa.array([0, None, 2, 3], pa.uint8())
    pq.write_table(table.set_column(1, pa.field("label", pa.uint8()), label), tmp_path / "c.parquet")
    assert read_entropy(tmp_path / "c.parquet", labels_required=False).label.tolist() == [0, UNKNOWN, 2, 3]
