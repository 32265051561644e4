"""Files beside the training rows': each is read by its own layout, whatever that of the training rows is."""

import numpy as np
import pyarrow as pa
import pytest
from helpers.dataset_files import encoded, hub_column, message, opened, pictures, write

from hydra_ray.errors import UserError

NUM_ROWS = 24
LABELS = np.arange(NUM_ROWS) % 3


def files(images):
    return [encoded(each) for each in images]


def tensors(images):
    kind = pa.fixed_shape_tensor(pa.uint8(), images.shape[1:])
    return pa.ExtensionArray.from_storage(kind, pa.array(images.reshape(len(images), -1).tolist(), kind.storage_type))


LAYOUTS = {
    "hub": hub_column,
    "hub, large": lambda images: pa.array(
        [{"path": None, "bytes": each} for each in files(images)],
        pa.struct([("path", pa.string()), ("bytes", pa.large_binary())]),
    ),
    "binary": lambda images: pa.array(files(images), pa.binary()),
    "large binary": lambda images: pa.array(files(images), pa.large_binary()),
    "binary view": lambda images: pa.array(files(images), pa.binary_view()),
    "tensor": tensors,
    "lists": lambda images: pa.array(images.tolist(), pa.list_(pa.list_(pa.uint8()))),
}


def all_read(folder, train, other):
    """Pixels of every further split of a set whose files have the layouts `train` and `other`."""
    images = {name: pictures(NUM_ROWS, seed=seed) for seed, name in enumerate(["train", "test", "unknown", "more"])}
    columns = {name: {"image": LAYOUTS[other](each), "label": LABELS} for name, each in images.items()}
    columns["train"] = {"image": LAYOUTS[train](images["train"]), "label": LABELS}
    write(folder / "set/train-00000-of-00001.parquet", columns["train"])
    write(folder / "set/test-00000-of-00001.parquet", columns["test"])
    unknown, more = (write(folder / f"{name}.parquet", columns[name]) for name in ("unknown", "more"))
    data = opened(folder / "set", unknown={"other": str(unknown)}, unlabelled={"more": ("transfer.views.0", str(more))})
    splits = {"test": "test", "unknown": "unknown-other", "more": "more"}
    return {name: (data.splits[split].read_all(), images[name]) for name, split in splits.items()}


@pytest.mark.parametrize("other", LAYOUTS)
@pytest.mark.parametrize("train", LAYOUTS)
def test_images_of_one_name_are_read_by_each_files_own_layout(tmp_path, train, other):
    for rows, images in all_read(tmp_path, train, other).values():
        np.testing.assert_array_equal(rows.inputs[..., 0], images)


@pytest.mark.parametrize(
    ("values", "found"),
    [(["a.png"] * NUM_ROWS, "holds string"), (LABELS, "holds int64"), ([{"path": "a"}] * NUM_ROWS, "holds struct")],
)
@pytest.mark.parametrize("train", ["hub", "tensor"])
def test_a_column_of_that_name_that_holds_no_images_is_named(tmp_path, train, values, found):
    images = pictures(NUM_ROWS)
    write(tmp_path / "train-00000-of-00001.parquet", {"image": LAYOUTS[train](images), "label": LABELS})
    write(tmp_path / "test-00000-of-00001.parquet", {"image": values, "label": LABELS})
    with pytest.raises(UserError) as raised:
        opened(tmp_path)
    assert f"column image {found}" in message(raised)
    assert "in the training rows" in message(raised)
