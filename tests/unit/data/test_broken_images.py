"""`data.skip_broken`: broken images belong to no split, all other rows stay where they were, and it is said."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from helpers.dataset_files import encoded, message, opened, pictures, write

from hydra_ray.data import ImageOptions
from hydra_ray.data import broken_images as module
from hydra_ray.errors import UserError

SKIP = ImageOptions(skip_broken=True)
BROKEN = {3: b"<html>404</html>", 17: None, 30: b""}


def write_rows(path: Path, broken: dict, num_rows=60) -> Path:
    files: list = [encoded(each) for each in pictures(num_rows)]
    for row, data in broken.items():
        files[row] = data if data is None or not data.startswith(b"cut") else files[row][:-40]
    return write(path, {"image": pa.array(files, pa.binary()), "label": np.arange(num_rows) % 3})


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_other_rows_stay_where_they_were(tmp_path):
    broken = {**BROKEN, 41: b"cut short"}
    whole = opened(write_rows(tmp_path / "whole.parquet", {}))
    data = opened(write_rows(tmp_path / "rows.parquet", broken), images=SKIP)
    assert sum(split.num_rows for split in data.splits.values()) == 56
    for name, split in data.splits.items():
        expected = whole.splits[name]
        kept = np.isin(expected.row_ids(), list(broken), invert=True)
        rows = split.read_all()
        np.testing.assert_array_equal(split.row_ids(), expected.row_ids()[kept])
        np.testing.assert_array_equal(rows.row_id, split.row_ids())
        np.testing.assert_array_equal(rows.inputs, expected.read_all().inputs[kept])
        np.testing.assert_array_equal(split.read_labels(), rows.labels)
        assert sum(len(split.read(*part)) for part in split.chunks(7)) == split.num_rows


def test_it_is_said_and_part_of_the_fingerprint(tmp_path):
    data = opened(write_rows(tmp_path / "rows.parquet", BROKEN), images=SKIP)
    assert "left out 3 images that cannot be used: row 3 is no image we can read" in data.lines()[0]
    assert data.splits["train"].source.fingerprint()["broken"] == [3, 17, 30]


def test_so_many_training_rows_are_kept_as_were_asked_for(tmp_path):
    data = opened(write_rows(tmp_path / "rows.parquet", BROKEN), images=SKIP, max_train_rows=35)
    assert data.splits["train"].num_rows == 35


def test_splits_of_their_own_and_unknown_sets(tmp_path):
    for name in ("train", "test"):
        write_rows(tmp_path / "set" / f"{name}.parquet", BROKEN)
    write_rows(tmp_path / "other.parquet", {0: b"", 59: b""})
    data = opened(tmp_path / "set", images=SKIP, unknown={"other": str(tmp_path / "other.parquet")})
    assert data.splits["test"].num_rows == 57
    assert data.splits["unknown-other"].row_ids().tolist() == list(range(1, 59))
    assert len(data.splits["unknown-other"].read_all()) == 58


def test_without_the_key_the_row_and_the_key_are_named(tmp_path):
    source = opened(write_rows(tmp_path / "rows.parquet", {50: b"cut"})).splits["train"].source
    with pytest.raises(UserError, match=r"row 50 is no image .*leave such rows out with data\.skip_broken=true"):
        source.read(0, 60)


def test_nothing_is_decoded_twice(tmp_path, monkeypatch):
    path = write_rows(tmp_path / "rows.parquet", BROKEN)
    first = opened(path, images=SKIP)
    monkeypatch.setattr(module, "check_image", lambda *arguments: pytest.fail("decoded again"))
    assert opened(path, images=SKIP).fingerprint() == first.fingerprint()
    assert opened(path, images=SKIP).lines() == first.lines()


def test_what_is_too_large_is_left_out_too(tmp_path):
    files = [encoded(each) for each in [*pictures(30), pictures(1, (60, 50))[0]]]
    path = write(tmp_path / "rows.parquet", {"image": pa.array(files), "label": np.arange(31) % 2})
    data = opened(path, images=ImageOptions(skip_broken=True, max_pixels=100))
    assert data.splits["train"].source.fingerprint()["broken"] == [30]


def test_a_set_of_nothing_else_is_refused(tmp_path):
    path = write_rows(tmp_path / "rows.parquet", dict.fromkeys(range(60), b"x"))
    with pytest.raises(UserError, match="row 0 and all others are no images") as raised:
        opened(path, images=SKIP)
    message(raised)
