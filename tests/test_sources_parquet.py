import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cases.preparing import dataset, noise, prepare, together
from PIL import Image

from offramp.data import sources
from offramp.project.errors import InputError

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def encoded(pixels, kind="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def table(contents, labels, names=None, image=IMAGE, label="int64", first=0):
    rows = [{"bytes": content, "path": f"some/{first + row}.png"} for row, content in enumerate(contents)]
    columns = {"image": pa.array(contents if image != IMAGE else rows, image), "label": pa.array(labels, label)}
    about = {"info": {"features": {"label": {"_type": "ClassLabel", "names": names}}}}
    return pa.table(columns).replace_schema_metadata({"huggingface": json.dumps(about)} if names else None)


def pair(tmp_path, names=None, n=(40, 20), **options):
    for split, count, seed in zip(("train", "test"), n, (1, 2), strict=True):
        contents = [encoded(pixels) for pixels in noise(count, seed)]
        written = table(contents, [row * 2 // count for row in range(count)], names, first=1000 * seed, **options)
        pq.write_table(written, tmp_path / f"{split}_source.parquet")
    return both(tmp_path)


def both(tmp_path, **more):
    paths = {split: str(tmp_path / f"{split}_source.parquet") for split in ("train", "test")}
    return {"source": "parquet", **paths, "val": 8} | more


@pytest.mark.parametrize("names", [["ant", "bee"], None])
@pytest.mark.parametrize("image", [IMAGE, pa.binary(), pa.large_binary()])
def test_images_labels_and_class_names_come_through(tmp_path, names, image):
    found = prepare(tmp_path, **pair(tmp_path, names, image=image, label="uint8"), val_from="test")
    assert {name: len(split.labels) for name, split in found.items()} == {"train": 40, "val": 8, "test": 12}
    assert found["val"].split.classes == (names or ["0", "1"])
    source = {content: row // 20 for row, content in enumerate(encoded(pixels) for pixels in noise(40, 1))}
    assert [source[content] for content in found["train"].contents] == found["train"].labels.tolist()
    assert set(found["train"].contents) == set(source)
    assert found["train"].labels.tolist() != sorted(found["train"].labels)
    assert (found["train"].paths[0] or "some/10").startswith("some/10") is True
    assert (found["val"].paths[0] is None) == (image != IMAGE)


def test_class_names_of_the_older_form_are_taken_by_number_and_text_alone(tmp_path):
    numbered = {"10": "k", "0": "a"} | {str(number): "abcdefghijk"[number] for number in range(1, 10)}
    settings = pair(tmp_path, numbered)
    assert sources.parquet.pools("mine", dataset(**settings)).classes == list("abcdefghijk")
    pair(tmp_path, {"0": "ant", "2": "bee"})
    refused(tmp_path, "class names in its metadata must be numbered from 0 on")
    pair(tmp_path, ["ant", "b\udcffe"])
    refused(tmp_path, r"the class name 'b\\udcffe' is not UTF-8")


def test_a_prepared_file_is_itself_such_a_table(tmp_path):
    first = prepare(tmp_path, **pair(tmp_path, ["ant", "bee"]))
    (tmp_path / "again").mkdir()
    paths = {split: str(tmp_path / f"{split}.parquet") for split in ("train", "test")}
    again = prepare(tmp_path / "again", source="parquet", val=8, **paths)
    assert sorted(again["test"].contents) == sorted(first["test"].contents)
    assert again["test"].split.classes == ["ant", "bee"]


def test_a_directory_of_files_is_one_table(tmp_path):
    parameters = pair(tmp_path, ["ant", "bee"])
    whole = pq.read_table(parameters["train"])
    (tmp_path / "parts").mkdir()
    for number in range(3):
        rows = whole.slice(14 * number, 14)
        pq.write_table(rows, tmp_path / "parts" / f"{number}.parquet", row_group_size=5)
    (tmp_path / "parts" / ".hidden.parquet").write_text("no table")
    alike = prepare(tmp_path, **parameters | {"train": str(tmp_path / "parts")})
    assert together(alike, "paths") == together(prepare(tmp_path, **parameters), "paths")


def test_null_and_broken_images_are_left_out_and_their_path_is_never_opened(tmp_path):
    parameters = pair(tmp_path)
    Image.fromarray(noise(1)[0]).save(tmp_path / "there.png")
    rows = pq.read_table(parameters["test"]).to_pylist()
    rows[0]["image"] = None
    rows[1]["image"] = {"bytes": None, "path": str(tmp_path / "there.png")}
    rows[2]["image"]["bytes"] = rows[2]["image"]["bytes"][:70]
    rows[3]["image"] = {"bytes": b"\xff\xd8 no image", "path": None}
    pq.write_table(pa.Table.from_pylist(rows, pq.read_schema(parameters["test"])), parameters["test"])
    notes = []
    found = prepare(tmp_path, notes=notes, **parameters)
    assert len(found["test"].labels) == 16
    assert found["test"].about["unreadable"] == 4
    assert notes[1] == f"  row 0 of {parameters['test']}: it holds no bytes"
    assert notes[2] == f"  {tmp_path}/there.png: it holds no bytes"
    assert notes[4].startswith(f"  row 3 of {parameters['test']}: ")


def test_a_jpeg_that_fits_is_kept_and_one_that_is_grey_is_not(tmp_path):
    parameters = pair(tmp_path)
    colour, grey = encoded(noise(1)[0], "JPEG"), encoded(noise(1, channels=1)[0], "JPEG")
    contents = [colour, grey] + [encoded(pixels) for pixels in noise(18, 2)]
    pq.write_table(table(contents, [0, 1] * 10), parameters["test"])
    found = prepare(tmp_path, **parameters)
    by_path = dict(zip(found["test"].paths, found["test"].contents, strict=True))
    assert by_path["some/0.png"] == colour
    assert by_path["some/1.png"][:4] == b"\x89PNG"
    where = found["test"].paths.index("some/1.png")
    assert np.array_equal(found["test"].images[where], np.asarray(Image.open(io.BytesIO(grey)).convert("RGB")))


def refused(tmp_path, match, **more):
    with pytest.raises(InputError, match=match):
        sources.check("mine", dataset(**both(tmp_path, **more)), 17)


def test_tables_that_contradict_each_other_are_refused(tmp_path):
    pair(tmp_path, ["ant", "bee"])
    contents, test = [encoded(pixels) for pixels in noise(20)], tmp_path / "test_source.parquet"
    pq.write_table(table(contents, [0, 1] * 10, ["ant", "wasp"]), test)
    refused(tmp_path, r"train_source.parquet has classes that .*test_source.parquet lacks: bee")
    pq.write_table(table(contents, [0, 1] * 10, ["bee", "ant"]), test)
    refused(tmp_path, "number their classes differently: ant here is bee there")
    pq.write_table(table(contents, [0, 1] * 10), test)
    refused(tmp_path, "train_source.parquet names its classes in the metadata and .*test_source.parquet does not")
    pq.write_table(table(contents, [0, 2] * 10, ["ant", "bee"]), test)
    refused(tmp_path, r"test_source\.parquet: the label of row 1 is 2; with 2 classes labels are 0 to 1")
    pair(tmp_path)
    pq.write_table(table(contents, [0, 2] * 10), test)
    refused(tmp_path, "train_source.parquet has classes that .* lacks: 1;")
    pq.write_table(table(contents, [0, 10**9] * 10), test)
    refused(tmp_path, "has a label 1000000000; labels must count the classes")


def test_tables_of_another_kind_are_refused(tmp_path):
    pair(tmp_path)
    test = tmp_path / "test_source.parquet"
    pq.write_table(pa.table({"img": [b""], "label": [1]}), test)
    refused(tmp_path, "must have one column 'image'; its columns are img, label")
    pq.write_table(pa.table({"image": ["a.png"], "label": [1]}), test)
    refused(tmp_path, "column 'image' must be struct<bytes: binary, path: string> or binary; it is string")
    pq.write_table(table([b""], ["ant"], label="string"), test)
    refused(tmp_path, "column 'label' must hold whole numbers; it is string")
    pq.write_table(table([b"", b""], [0, None]), test)
    refused(tmp_path, "the label of row 1 is missing")
    pq.write_table(table([], []), test)
    refused(tmp_path, r"has no rows; datasets\.mine\.test must name a table")
    test.write_bytes(b"PAR1")
    refused(tmp_path, "is not a readable Parquet file")
    (tmp_path / "nothing").mkdir()
    refused(
        tmp_path,
        r"datasets\.mine\.test names .*nothing, a folder without Parquet files",
        test=str(tmp_path / "nothing"),
    )
