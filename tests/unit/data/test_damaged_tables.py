"""Tables of the user's own with bytes that changed or are gone: data or one line, never another exception."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.dataset_files import hub_column, message, opened, pictures

from hydra_ray.errors import UserError

NUM_FLIPS = 200
ROWS = np.random.default_rng(0)


def tables() -> dict[str, pa.Table]:
    """Of every kind of column."""
    label = np.arange(40) % 2
    numbers = {"a": ROWS.normal(size=40), "b": np.arange(40) % 7, "name": ["x", "y"] * 20}
    lists = pa.array(ROWS.normal(size=(40, 3)).tolist())
    return {
        "numbers": pa.table({**numbers, "label": label}),
        "text": pa.table(
            {"a": ROWS.normal(size=40).astype(str), "label": pa.array(["u", "v"] * 20).dictionary_encode()}
        ),
        "lists": pa.table({"v": lists, "label": label}),
        "images": pa.table({"image": hub_column(pictures(40, (4, 4))), "label": label}),
    }


def read_everything(path) -> None:
    """Open and read all splits; what a run does before it trains."""
    data = opened(path, ignore=("name",) if "numbers" in path.name else None)
    for split in data.splits.values():
        split.read_all()
    data.lines()


def outcome(path) -> str:
    """`data` or `line`; any other exception fails the test."""
    try:
        read_everything(path)
    except UserError as error:
        return "line" if len(str(error).splitlines()) == 1 else "lines"
    return "data"


@pytest.mark.parametrize("compression", ["none", "snappy"])
@pytest.mark.parametrize("kind", ["numbers", "text", "lists", "images"])
def test_a_byte_flipped_in_parquet(tmp_path, kind, compression):
    path = tmp_path / f"{kind}.parquet"
    pq.write_table(tables()[kind], path, compression=compression)
    content, rng = path.read_bytes(), np.random.default_rng(1)
    outcomes = []
    for place in rng.integers(0, len(content), NUM_FLIPS // 4):
        changed = bytearray(content)
        changed[place] ^= rng.integers(1, 256)
        path.write_bytes(changed)
        outcomes.append(outcome(path))
    assert {"line"} <= set(outcomes) <= {"line", "data"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
def test_a_byte_flipped_or_gone_in_csv(tmp_path, encoding):
    rows = [f"{a:.3f};{b};{'äö'[b % 2]};{b % 2}" for b, a in enumerate(ROWS.normal(size=40))]
    content = ("größe;b;name;label\n" + "\n".join(rows) + "\n").encode(encoding)
    path, rng = tmp_path / "numbers.csv", np.random.default_rng(2)
    outcomes = []
    for place in rng.integers(0, len(content), NUM_FLIPS):
        changed = bytearray(content)
        if rng.random() < 0.3:
            del changed[place : place + rng.integers(1, 40)]
        else:
            changed[place] ^= rng.integers(1, 256)
        path.write_bytes(changed)
        outcomes.append(outcome(path))
    assert {"line", "data"} == set(outcomes)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["numbers", "images"])
def test_parquet_that_was_cut_short(tmp_path, kind, share):
    path = tmp_path / f"{kind}.parquet"
    pq.write_table(tables()[kind], path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match="is no readable Parquet file") as raised:
        opened(path)
    message(raised)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"v": pa.array([[]] * 30, pa.list_(pa.float32(), 0)), "label": [0, 1] * 15}, "rows have no numbers"),
        ({"v": pa.array([[]] * 30, pa.list_(pa.float32())), "label": [0, 1] * 15}, "row 0 is an array of no values"),
        ({"v": pa.array([None] * 30, pa.list_(pa.float32())), "label": [0, 1] * 15}, "row 0 has no value"),
        ({"a": [1.5, 2.5] * 15, "label": pa.nulls(30)}, "rows have no label"),
        ({"a": [1.5, 2.5] * 15, "label": pa.nulls(30, pa.int64())}, "rows have no label"),
        ({"a": [1.5, 2.5] * 15, "label": pa.nulls(30, pa.string())}, "rows have no label"),
        ({"a": [1.5, 2.5] * 15, "label": pa.nulls(30, pa.float64())}, "no label"),
        ({"a": [1.5, float("inf")] * 15, "label": [0, 1] * 15}, "has a value that is not finite"),
        ({}, "holds no rows"),
    ],
)
def test_columns_without_values_are_a_line(tmp_path, columns, expected):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(UserError) as raised:
        read_everything(path)
    assert expected in message(raised)
