"""Folders of image files: a class a folder, splits below or not, and what is left out said."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from helpers.dataset_files import encoded, message, opened, pictures, write
from PIL import Image

from hydra_ray.config import load_config
from hydra_ray.data import image_folders
from hydra_ray.data.image_folders import ImageFolderSource
from hydra_ray.data.tables.source import TableSource
from hydra_ray.errors import UserError
from hydra_ray.runs import Run

CLASSES = ("cat", "dog", "eel")


def write_folder(folder: Path, num_rows=12, shape=(6, 5, 3), seed=0, classes=CLASSES) -> Path:
    """Image files, PNG and JPEG in turn, in a folder a class."""
    for row, image in enumerate(pictures(num_rows, shape, seed)):
        place = folder / classes[row % len(classes)]
        place.mkdir(parents=True, exist_ok=True)
        kind = ("PNG", "png") if row % 2 else ("JPEG", "JPG")
        (place / f"{row:03d}.{kind[1]}").write_bytes(encoded(image, kind[0]))
    return folder


def pixels_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def table_of(data, split="train") -> TableSource:
    source = data.splits[split].source
    assert isinstance(source, TableSource)
    return source


def test_a_class_a_folder_and_splits_made_of_it(tmp_path):
    data = opened(write_folder(tmp_path, 60), test_fraction=0.2, validation_fraction=0.2)
    assert (data.class_names, data.input_shape) == (CLASSES, (6, 5, 3))
    assert {name: split.num_rows for name, split in data.splits.items()} == {"train": 36, "validation": 12, "test": 12}
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.*"))
    rows = table_of(data).read(0, 60)
    assert [table_of(data).row_name(row) for row in (0, 59)] == [str(files[0]), str(files[-1])]
    for row, path in enumerate(files):
        np.testing.assert_array_equal(rows.inputs[row], pixels_of(tmp_path / path))
        assert rows.labels is not None
        assert CLASSES[rows.labels[row]] == path.parent.name
    (line,) = data.lines()
    assert f"rows of {tmp_path.name} (60 image files); pixels 6 x 5 x 3; label class, 3 classes cat, dog, eel" in line


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "validation", "testing"), ("train", "valid")])
@pytest.mark.parametrize("above", ["", "data", "archive"])
def test_splits_below(tmp_path, names, above):
    for seed, name in enumerate(names):
        write_folder(tmp_path / above / name, 9 + 3 * seed, seed=seed)
    data = opened(tmp_path)
    assert data.splits["validation"].num_rows == 12
    assert table_of(data, "validation").columns.classes == table_of(data).columns.classes
    if len(names) == 3:
        assert (data.splits["train"].num_rows, data.splits["test"].num_rows) == (9, 15)


def test_folders_below_a_class_belong_to_it_and_numbers_are_in_order(tmp_path):
    for name in ("10", "2", "1/images/more"):
        write_folder(tmp_path / "train" / name, 6, classes=(".",))
    assert opened(tmp_path).class_names == ("1", "2", "10")


def test_what_is_no_image_is_left_out_and_said(tmp_path):
    write_folder(tmp_path)
    for name in (
        "readme.txt",
        "cat/more.txt",
        "cat/labels.csv",
        "cat/.hidden.png",
        "__MACOSX/cat/000.png",
        ".git/x.png",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"x")
    data = opened(tmp_path)
    assert data.class_names == CLASSES
    assert "left out 1 .csv file, 2 .txt files" in data.lines()[0]


def test_a_folder_without_classes_is_an_unknown_set(tmp_path):
    write_folder(tmp_path / "known", 30)
    write_folder(tmp_path / "flat", 5, classes=(".",))
    write_folder(tmp_path / "other" / "test", 6, classes=("x", "y"))
    unknown = {name: str(tmp_path / name) for name in ("flat", "other")}
    data = opened(tmp_path / "known", unknown=unknown)
    assert data.splits["unknown-flat"].num_rows == 5
    assert data.splits["unknown-flat"].read_all().labels is None
    assert data.splits["unknown-other"].num_rows == 6


def test_the_fingerprint_is_of_names_and_content(tmp_path):
    found = []
    for name in ("a", "b", "c"):
        write_folder(tmp_path / name, seed=name == "c")
        found.append(opened(tmp_path / name).fingerprint())
    assert found[0] == found[1] != found[2]
    (tmp_path / "b" / "cat" / "000.JPG").rename(tmp_path / "b" / "dog" / "000.JPG")
    assert opened(tmp_path / "b").fingerprint() != found[0]


def test_digests_are_remembered_until_a_file_is_written_to(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(image_folders, "_SETTLED_NS", 0)
    read = []
    digest = image_folders._digest
    monkeypatch.setattr(image_folders, "_digest", lambda data: read.append(1) or digest(data))
    folder = write_folder(tmp_path / "set")
    image = folder / "cat" / "003.png"
    found = []
    for content in (None, None, encoded(pictures(1, (6, 5, 3), seed=9)[0])):
        if content:
            image.write_bytes(content)
        data = opened(folder)
        # beside the digests, files are read for size and colour
        found.append((len(read), data.fingerprint()))
        read.clear()
    assert [number for number, _ in found] == [12 + 12, 12, 12 + 12]
    assert found[0][1] == found[1][1] != found[2][1]


def test_only_the_files_of_a_splits_rows_are_read(tmp_path, monkeypatch):
    validation = opened(write_folder(tmp_path, 60)).splits["validation"]
    read = []
    plain = ImageFolderSource._file
    monkeypatch.setattr(ImageFolderSource, "_file", lambda source, row: read.append(row) or plain(source, row))
    validation.read_all()
    assert read == validation.row_ids().tolist()


@pytest.mark.parametrize("what", ["written to", "gone", "added"])
def test_a_file_that_changes_while_a_run_goes_on_is_noticed(tmp_path, what):
    data = opened(write_folder(tmp_path))
    path = tmp_path / "cat" / "000.JPG"
    if what == "added":
        (tmp_path / "cat" / "new.png").write_bytes(encoded(pictures(1, (6, 5, 3))[0]))
        with pytest.raises(UserError, match="files were added or removed"):
            data.require_unchanged()
        return
    if what == "gone":
        os.remove(path)
    else:
        path.write_bytes(encoded(pictures(1, (6, 5, 3), seed=4)[0]))
    with pytest.raises(UserError, match=r"has changed since the run began.*cat/000\.JPG") as raised:
        table_of(data).read(0, 3)
    message(raised)


REFUSED = {
    "no class": (
        lambda folder: write_folder(folder, classes=(".",)),
        "12 images lie in no folder, so they have no class",
    ),
    "beside": (
        lambda folder: [write_folder(folder), write_folder(folder, 1, classes=(".",))],
        "000.JPG lies beside folders with images",
    ),
    "two names": (
        lambda folder: [write_folder(folder / "val"), write_folder(folder / "valid"), write_folder(folder / "train")],
        "val and valid could both be the validation split",
    ),
    "test alone": (lambda folder: write_folder(folder / "test"), "has a test split only"),
    "test without classes": (
        lambda folder: [write_folder(folder / "train"), write_folder(folder / "test", classes=(".",))],
        "test: 12 images lie in no folder",
    ),
    "another class": (
        lambda folder: [write_folder(folder / "train"), write_folder(folder / "test", classes=("ant", "cat"))],
        "has label ant (6 rows here), which no training row has",
    ),
    "broken": (
        lambda folder: [write_folder(folder), (folder / "dog" / "001.png").write_bytes(b"x")],
        "dog/001.png is no image we can read",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_data_set_is_one_line(tmp_path, case):
    make, expected = REFUSED[case]
    make(tmp_path / "set")
    with pytest.raises(UserError) as raised:
        opened(tmp_path / "set")
    assert expected in message(raised)
    assert "set" in message(raised)


def test_tables_come_before_images(tmp_path):
    write_folder(tmp_path / "train")
    write(tmp_path / "train.parquet", {"a": np.arange(30.0), "label": np.arange(30) % 2})
    assert opened(tmp_path).input_shape == (1,)


# keys of data


def write_sizes(folder: Path, num_rows=40) -> Path:
    """Pictures of many sizes and modes, the first class grey."""
    rng = np.random.default_rng(0)
    for row in range(num_rows):
        name = CLASSES[row % 2]
        shape = (*rng.integers(20, 60, 2), *(() if row % 2 == 0 else (3,)))
        kind = "PNG" if row % 4 else "WEBP"
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / f"{row:03d}.{kind.lower()}").write_bytes(encoded(pictures(1, shape, seed=row)[0], kind))
    return folder


def run_of(folder: Path, *overrides: str) -> Run:
    recipe = folder.parent / "recipe.yaml"
    recipe.write_text(f"storage: {folder.parent}/runs\ndata: {{source: {folder}}}\n")
    return Run(load_config(recipe, list(overrides)))


def test_many_sizes_need_a_size_and_the_line_proposes_one(tmp_path):
    folder = write_sizes(tmp_path / "set")
    with pytest.raises(UserError, match=r"has \d+ x \d+ pixels .*data\.image_size=32 brings all rows to one") as raised:
        _ = run_of(folder).data
    message(raised)
    data = run_of(folder, "data.image_size=32").data
    assert data.input_shape == (32, 32, 3)
    assert data.splits["train"].read_all().inputs.shape == (data.splits["train"].num_rows, 32, 32, 3)
    assert run_of(folder, "data.image_size=[16, 24]").data.input_shape == (16, 24, 3)


def test_a_size_is_part_of_keys_and_none_is_not(tmp_path):
    folder = write_folder(tmp_path / "set", 30)
    keys = [
        run_of(folder, *words).data.splits["train"].source.fingerprint()
        for words in ([], ["data.image_size=4"], ["data.image_size=[6, 5]"], ["data.skip_broken=true"])
    ]
    assert "image_size" not in keys[0]
    assert keys[1]["image_size"] == [4, 4]
    assert keys[0] == keys[3] != keys[2]


@pytest.mark.parametrize("value", ["0", "[4]", "[4, 5, 6]", "large", "100000"])
def test_a_wrong_size_is_one_line(tmp_path, value):
    with pytest.raises(UserError, match=r"data\.image_size"):
        run_of(write_folder(tmp_path / "set"), f"data.image_size={value}")


def test_a_size_is_refused_where_there_are_no_files_to_resize(tmp_path):
    write(tmp_path / "rows.parquet", {"a": np.arange(30.0), "label": np.arange(30) % 2})
    for source, expected in (
        (tmp_path / "rows.parquet", "holds columns of numbers"),
        ("digits", "holds images of one"),
    ):
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(f"storage: {tmp_path}/runs\ndata: {{source: {source}, image_size: 8}}\n")
        with pytest.raises(UserError, match=rf"data\.image_size=8: .*{expected}") as raised:
            _ = Run(load_config(recipe, [])).data
        message(raised)


def test_a_photograph_lies_as_viewers_show_it_before_it_is_cropped(tmp_path):
    upright = pictures(1, (30, 20, 3))[0]
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(upright).transpose(Image.Transpose.ROTATE_90).save(file, "PNG", exif=exif)
    write_folder(tmp_path / "set", 20, (30, 20, 3))
    (tmp_path / "set" / "cat" / "0.png").write_bytes(file.getvalue())
    data = run_of(tmp_path / "set", "data.image_size=[30, 20]").data
    np.testing.assert_array_equal(table_of(data).read(0, 1).inputs[0], upright)
