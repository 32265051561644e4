"""Files of rows to be answered: how they are cut, which are found, and what is refused before anything starts."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.rows_to_answer import frame, write_digits, write_images
from helpers.small_students import image_student, table_student
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.data import InputFormat
from hydra_ray.errors import UserError
from hydra_ray.inference import open_row_files
from hydra_ray.inference.row_files import cut

pytestmark = pytest.mark.usefixtures("one_thread")

WIDE = InputFormat((224, 224, 3))
NARROW = InputFormat((3,), ("age", "height", "weight"))


@given(
    st.lists(st.lists(st.integers(0, 3_000_000), max_size=6), min_size=1, max_size=4), st.sampled_from([WIDE, NARROW])
)
def test_parts_hold_every_row_once_and_fit_into_memory(groups, form):
    parts = cut(groups, form)
    for file, rows_of in enumerate(groups):
        mine = [part for part in parts if part.file == file]
        assert [part.start for part in mine] == [0, *(part.stop for part in mine[:-1])][: len(mine)]
        assert sum(part.stop - part.start for part in mine) == sum(rows_of)
    assert all(part.start < part.stop for part in parts)
    assert len({part.name for part in parts}) == len(parts)
    assert [part.name for part in parts] == sorted(part.name for part in parts)
    row_bytes = 224 * 224 * 3 if form is WIDE else 12
    assert all((part.stop - part.start) * row_bytes <= 64 << 20 for part in parts)


def test_parts_end_where_row_groups_do_and_large_groups_are_few_pieces():
    ends = np.cumsum([1000] * 60)
    assert {part.stop for part in cut([[1000] * 60], NARROW)} <= set(ends.tolist())
    assert len(cut([[1000] * 60], NARROW)) == 15
    assert len(cut([[1_000_000]], NARROW)) == 8
    assert len(cut([[50]] * 3, NARROW)) == 3


def test_parts_do_not_depend_on_how_the_path_is_written(tmp_path, monkeypatch):
    write_images(tmp_path / "images")
    monkeypatch.chdir(tmp_path)
    found = [open_row_files(place, image_student().inputs, None, ()) for place in ("images", f"{tmp_path}/images/")]
    assert found[0].parts == found[1].parts
    assert found[0].content == found[1].content
    assert found[0].num_rows == 42
    assert found[0].noun == "42 image files"


def test_a_single_image_file(tmp_path):
    write_images(tmp_path / "images")
    files = open_row_files(str(tmp_path / "images" / "003.png"), image_student().inputs, None, ())
    rows = files.reader.read(files.parts[0])
    assert rows.own.to_pydict() == {"path": ["003.png"]}
    assert rows.reasons == [None]


def test_csv_without_a_header_of_a_student_of_such_a_table(tmp_path):
    form = InputFormat((2,), ("f0", "f1"))
    (tmp_path / "rows.csv").write_text("1.5,2\n3,4\n")
    files = open_row_files(str(tmp_path / "rows.csv"), form, None, ())
    np.testing.assert_array_equal(files.reader.read(files.parts[0]).inputs, [[1.5, 2], [3, 4]])


def in_a_folder(folder, **parts):
    for name, part in parts.items():
        part.to_parquet(folder / f"{name}.parquet")


def both_sorts(folder):
    frame(5).to_csv(folder / "rows.csv")
    in_a_folder(folder, rows=frame(5))


def images_and_parquet(folder):
    write_images(folder / "images")
    write_digits(folder / "digits.parquet")


def two_of_one_name(folder):
    table = pa.table([[1.0], [2.0], [3.0], [4.0]], names=["age", "height", "weight", "age"])
    pq.write_table(table, folder / "rows.parquet")


def structs(folder):
    pq.write_table(pa.table({"age": [{"a": 1}], "height": [1.0], "weight": [1.0]}), folder / "rows.parquet")


TABLES = {
    "an empty folder": (
        lambda folder: None,
        {},
        "holds no Parquet files or CSV files; the student takes rows of a table",
    ),
    "images": (lambda folder: write_images(folder / "images"), {}, "holds no Parquet files or CSV files"),
    "two sorts": (both_sorts, {}, "holds Parquet files and CSV files; give one sort"),
    "no rows": (lambda folder: in_a_folder(folder, rows=frame(5)[:0]), {}, "holds no rows"),
    "a missing column": (
        lambda folder: in_a_folder(folder, a=frame(5), b=frame(5).drop(columns="age")),
        {},
        "b.parquet: has no column age, which the student needs; its columns are weight, height, note, id",
    ),
    "a column twice": (two_of_one_name, {}, "2 columns have the name 'age'"),
    "a column of structs": (structs, {}, "rows.parquet: column age holds struct<a: int64>, the student takes numbers"),
    "no Parquet": (lambda folder: (folder / "rows.parquet").write_bytes(b"PAR1"), {}, "is no readable Parquet file"),
    "an unknown column": (
        lambda folder: in_a_folder(folder, rows=frame(5)),
        {"keep": ["nota"]},
        "no such column; did you mean note? it has ",
    ),
    "a column that one file lacks": (
        lambda folder: in_a_folder(folder, a=frame(5), b=frame(5).drop(columns="note")),
        {"keep": ["note"]},
        "--keep=note: ",
    ),
    "columns of two types": (
        lambda folder: in_a_folder(folder, a=frame(5), b=frame(5).assign(note=1)),
        {},
        "--keep=note: the files have it as ",
    ),
    "the name of an answer": (
        lambda folder: in_a_folder(folder, rows=frame(5).assign(mean=1)),
        {},
        "column mean is called as one of the answers; leave it out with --keep weight --keep age",
    ),
}


@pytest.mark.parametrize("case", TABLES)
def test_tables_that_are_refused(tmp_path, case):
    make, options, said = TABLES[case]
    make(tmp_path)
    with pytest.raises(UserError) as raised:
        open_row_files(str(tmp_path), table_student().inputs, options.get("keep"), ("mean", "std"))
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


IMAGES = {
    "nothing there": (lambda folder: None, {}, "nowhere", "no such file or folder"),
    "an empty folder": (lambda folder: None, {}, "", "holds no image files or Parquet files; the student takes images"),
    "tables": (lambda folder: frame(5).to_csv(folder / "rows.csv"), {}, "", "holds no image files or Parquet files"),
    "two sorts": (images_and_parquet, {}, "", "holds image files and Parquet files; give one sort"),
    "Parquet of numbers": (
        lambda folder: in_a_folder(folder, rows=pd.DataFrame({"a": [1]})),
        {},
        "",
        "rows.parquet: has no column of images; its columns are a (int64)",
    ),
    "a column of image files": (
        lambda folder: write_images(folder / "images"),
        {"keep": ["label"]},
        "",
        "--keep=label: image files have no columns",
    ),
}


@pytest.mark.parametrize("case", IMAGES)
def test_images_that_are_refused(tmp_path, case):
    make, options, place, said = IMAGES[case]
    make(tmp_path)
    with pytest.raises(UserError) as raised:
        open_row_files(str(tmp_path / place), image_student().inputs, options.get("keep"), ())
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
