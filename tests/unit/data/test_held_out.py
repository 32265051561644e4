"""Groups of rows that are held out: an unknown set, and in none of the other splits."""

import numpy as np
import pytest
from helpers.dataset_files import message, opened, write, write_hub

from hydra_ray.errors import UserError

NUM_ROWS = 200
COUNTRY = np.array(["Chad", "Fiji", "Oman", "Peru"])[np.arange(NUM_ROWS) % 4]
COLUMNS = {"size": np.arange(NUM_ROWS) / 7, "country": COUNTRY, "label": ["yes", "no"] * (NUM_ROWS // 2)}
FIJI = {"fiji": {"country": ["Fiji"]}}


def test_its_rows_are_a_set_of_their_own_and_in_no_other(tmp_path):
    data = opened(write(tmp_path / "rows.parquet", COLUMNS), held_out=FIJI)
    ids = {name: set(split.row_ids()) for name, split in data.splits.items()}
    assert ids.pop("unknown-fiji") == set(range(1, NUM_ROWS, 4))
    assert set.union(*ids.values()) == set(range(NUM_ROWS)) - set(range(1, NUM_ROWS, 4))
    assert sum(map(len, ids.values())) == 150
    assert "unknown-fiji 50 rows" in data.lines()[0]


def test_its_value_counts_as_never_seen(tmp_path):
    data = opened(write(tmp_path / "rows.parquet", COLUMNS), held_out=FIJI)
    assert data.categories == (0, 5)
    assert set(data.splits["unknown-fiji"].read_all().inputs[:, 1]) == {1}
    assert set(data.splits["train"].read_all().inputs[:, 1]) == {2, 3, 4}


def test_rows_of_a_test_file_are_left_out_too(tmp_path):
    write(tmp_path / "train.parquet", COLUMNS)
    write(tmp_path / "test.parquet", COLUMNS)
    data = opened(tmp_path, held_out=FIJI)
    assert data.splits["test"].num_rows == 150
    assert 1 not in data.splits["test"].row_ids()
    assert data.splits["unknown-fiji"].num_rows == 50


def test_a_column_that_is_no_feature_and_several_columns_do(tmp_path):
    path = write(tmp_path / "rows.parquet", {**COLUMNS, "year": 2000 + np.arange(NUM_ROWS) // 100})
    data = opened(path, ignore=("year",), held_out={"late": {"year": [2001], "country": ["Fiji", "Oman"]}})
    assert data.splits["unknown-late"].num_rows == 50
    assert data.categories == (0, 6)


def test_groups_of_images_are_known_by_another_column(tmp_path):
    data = opened(write_hub(tmp_path / "set"), held_out={"twos": {"label": [2]}})
    assert data.splits["unknown-twos"].num_rows == 20
    assert data.splits["test"].num_rows == 20


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ({"a": {"land": ["Fiji"]}}, "data.held_out.a: rows.parquet has no column land; it has size, country, label"),
        ({"a": {"country": ["Mali"]}}, "data.held_out.a: none of the rows of rows.parquet have country in Mali"),
        ({"a": {"country": sorted(set(COUNTRY))}}, "data.held_out.a: all of the rows"),
        ({"a/b": {"country": ["Fiji"]}}, "data.held_out.a/b: the name becomes a folder's"),
        ({"other": {"country": ["Fiji"]}}, "data.held_out.other: data.unknown has a set of that name"),
    ],
)
def test_a_group_that_cannot_be_is_a_line(tmp_path, groups, expected):
    path = write(tmp_path / "rows.parquet", COLUMNS)
    with pytest.raises(UserError) as raised:
        opened(path, held_out=groups, unknown={"other": str(path)})
    assert expected in message(raised)


def test_a_set_without_columns_has_no_groups():
    with pytest.raises(UserError, match=r"data\.held_out.* digits has labels of its own and no columns"):
        opened("digits", held_out=FIJI)
