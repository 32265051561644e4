"""What the tests of data sets share: short calls, and small Parquet files of several layouts."""

import io
import json
from dataclasses import fields
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from PIL import Image

from hydra_ray.data.catalog import open_source
from hydra_ray.data.data_set import open_data
from hydra_ray.data.tables.options import TableOptions

DEFAULTS = {
    "root": "nowhere",
    "download": False,
    "validation_fraction": 0.1,
    "test_fraction": 0.2,
    "seed": 0,
    "max_train_rows": None,
    "unknown": {},
}


def opened(source, **changed):
    """A data set, with keys of `data` that are about tables among `changed`."""
    options = _options(changed)
    return open_data(str(source), options=options, **{**DEFAULTS, **changed})


def read(path, split: Literal["train", "test"] = "train", **changed):
    options = _options(changed)
    return open_source(str(path), split, root="nowhere", download=False, options=options, **changed)


def _options(changed: dict) -> TableOptions:
    """Taken out of `changed`."""
    names = [field.name for field in fields(TableOptions)]
    return TableOptions(**{name: changed.pop(name) for name in names if name in changed})


def message(raised) -> str:
    text = str(raised.value)
    assert "\n" not in text
    return text


def encoded(image: np.ndarray, kind: str = "PNG", mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    picture = Image.fromarray(image)
    (picture.convert(mode) if mode else picture).save(buffer, kind)
    return buffer.getvalue()


def pictures(num_rows: int, shape=(6, 5), seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num_rows, *shape), dtype=np.uint8)


def hub_column(images) -> pa.Array:
    rows = [{"bytes": each if each is None else encoded(each), "path": None} for each in images]
    return pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))


def write(path: Path, columns: dict, row_group_size: int = 4, metadata: dict | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    if metadata:
        table = table.replace_schema_metadata({"huggingface": json.dumps(metadata)})
    pq.write_table(table, path, row_group_size=row_group_size)
    return path


def write_hub(folder: Path, num_rows: int = 30, num_classes: int = 3, shape=(6, 5)) -> Path:
    """A folder with a train and a test split, two files for train."""
    for split, total in (("train", 2), ("test", 1)):
        for part in range(total):
            images = pictures(num_rows, shape, seed=part + 10 * total)
            labels = np.arange(num_rows) % num_classes
            write(
                folder / f"{split}-{part:05}-of-{total:05}.parquet",
                {"image": hub_column(images), "label": labels},
            )
    return folder


def write_copies(folder: Path) -> Path:
    """What $HYDRA_RAY_DATA may name: small made-up files in place of every set that a shipped recipe asks for."""
    for name, shape in (("mnist", (28, 28)), ("fashion_mnist", (28, 28))):
        write_hub(folder / name, shape=shape)
    for name in ("cifar10", "cifar100", "svhn"):
        write_hub(folder / name, shape=(32, 32, 3))
    write_hub(folder / "tiny-imagenet", shape=(64, 64, 3))
    rng = np.random.default_rng(0)
    columns: dict = {f"x{number}": rng.normal(size=60) for number in range(8)}
    columns["y"] = rng.normal(size=60)
    columns.update({f"test_split_{split}": np.arange(60) % 10 == split for split in range(10)})
    write(folder / "uci" / "concrete.parquet", columns)
    write_adult(folder / "adult", rng)
    write_movielens(folder / "movielens", rng)
    return folder


def write_movielens(folder: Path, rng: np.random.Generator) -> None:
    """Rows such as those that docs/recipes.md makes of MovieLens: identities as numbers, text, and a click."""
    for name in ("train", "test"):
        columns: dict = {key: rng.integers(1, 9, 400) for key in ("user_id", "movie_id", "age", "Drama")}
        columns |= {"gender": rng.choice(["F", "M"], 400), "click": rng.random(400) < 0.5}
        write(folder / f"{name}.parquet", columns)


def write_adult(folder: Path, rng: np.random.Generator) -> None:
    """Rows such as UCI Adult's: text, categories, a `?` and a country that the recipe holds out."""
    folder.mkdir()
    for name in ("train", "test"):
        columns: dict = {number: rng.integers(0, 90, 400) for number in ("age", "fnlwgt", "education-num")}
        columns |= {number: rng.integers(0, 99, 400) for number in ("capital-gain", "capital-loss", "hours-per-week")}
        for text in ("workclass", "education", "marital-status", "occupation", "relationship", "race", "sex"):
            columns[text] = rng.choice(["one", "two", "?"], 400)
        columns["native-country"] = rng.choice(["United-States", "Mexico"], 400, p=[0.9, 0.1])
        columns["income"] = np.where(columns["age"] + columns["capital-gain"] > 90, ">50K", "<=50K")
        pa.csv.write_csv(pa.table(columns), folder / f"{name}.csv")
