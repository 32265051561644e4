"""Small sets that are loaded whole, once a process: of scikit-learn, of torchvision, and generated ones.

A source of torchvision's holds the name of its set only, and arrays come from a cached function when rows are first
read. The embedded ones are light: their arrays travel with the source, as a worker that has to import scikit-learn for
them takes a second longer.
torchvision and scikit-learn are imported when a set of theirs is opened, not before; what is generated is in
`generated.py`.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from hydra_ray.data.generated import GENERATED
from hydra_ray.data.rows import Bools, Floats, Inputs, Ints, Rows, TaskName, positions
from hydra_ray.errors import UserError, reason_of

EMBEDDED = ("digits", "photo_patches", "diabetes", *GENERATED)
"""Those without files."""
TORCHVISION = {
    "MNIST": "ylecun/mnist",
    "FashionMNIST": "zalando-datasets/fashion_mnist",
    "CIFAR10": "uoft-cs/cifar10",
    "CIFAR100": "uoft-cs/cifar100",
    "SVHN": "ufldl-stanford/svhn",
}
"""torchvision's name -> the same data on the Hugging Face hub."""

_DAMAGED = (RuntimeError, OSError, ValueError, AssertionError)
"""What torchvision raises for data that are missing, cut short or of another checksum."""
_DIGIT_LEVELS = 16
_PATCHES_PER_PHOTO = 1000
_LEAST_CONTRAST = 3


@dataclass(frozen=True, eq=False)
class Arrays:
    """A whole set."""

    inputs: Inputs
    labels: Ints | Floats | None
    class_names: tuple[str, ...] | None = None
    feature_names: tuple[str, ...] | None = None

    @property
    def task(self) -> TaskName:
        """Targets are of a floating-point type."""
        return "regression" if self.labels is not None and self.labels.dtype == np.float32 else "classification"

    @cached_property
    def checksum(self) -> int:
        """CRC-32 of inputs and labels."""
        labels = zlib.crc32(b"" if self.labels is None else self.labels.tobytes())
        return zlib.crc32(np.ascontiguousarray(self.inputs).data, labels)


@dataclass(frozen=True)
class InMemorySource:
    """A named set; see `Source`."""

    name: str
    split: str
    root: str
    num_rows: int
    input_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    task: TaskName
    class_names: tuple[str, ...] | None
    feature_names: tuple[str, ...] | None
    checksum: int
    embedded: Arrays | None = field(default=None, compare=False, repr=False)

    @property
    def categories(self) -> tuple[int, ...]:
        """See `Source.categories`; none of these sets has any."""
        return ()

    @property
    def goes_with(self) -> tuple[int, ...]:
        """See `Source.goes_with`; no number is missing in these sets."""
        return ()

    def read(self, start: int, stop: int, keep: Bools | None = None) -> Rows:
        """See `Source.read`."""
        arrays = self._arrays()
        row_id = positions(start, stop, keep, self.num_rows)
        labels = None if arrays.labels is None else arrays.labels[row_id]
        return Rows(row_id, arrays.inputs[row_id], labels)

    def read_labels(self) -> Ints | Floats | None:
        """See `Source.read_labels`."""
        labels = self._arrays().labels
        return None if labels is None else labels.copy()

    def fingerprint(self) -> dict[str, Any]:
        """Name, split, rows and a checksum of inputs and labels."""
        return {"name": self.name, "split": self.split, "num_rows": self.num_rows, "checksum": self.checksum}

    def require_unchanged(self) -> None:
        """See `Source.require_unchanged`; each process compares the checksum when it loads the set, once."""

    def _arrays(self) -> Arrays:
        if self.embedded is not None:
            return self.embedded
        try:
            arrays = _load(self.name, self.split, self.root)
        except _DAMAGED as error:
            place = f"data.torchvision_root={self.root}: {self.name} cannot be read on this machine"
            raise UserError(f"{place} ({reason_of(error)}); put the folder where every machine sees it") from error
        if arrays.checksum != self.checksum:
            place = (
                f"data.torchvision_root={self.root}: {self.name} has changed since the run began, or is another on "
                "this machine"
            )
            raise UserError(f"{place}; run the command again when nobody writes to it")
        return arrays


def open_in_memory(name: str, split: str, root: str, *, download: bool, key: str) -> InMemorySource:
    """A set of `EMBEDDED` or `TORCHVISION`.

    Args:
        name: Of the set.
        split: "train" or "test"; embedded sets have "train" only.
        root: torchvision's folder.
        download: Whether torchvision may fetch the set into it.
        key: The configuration key that messages name.

    Raises:
        UserError: the set is not there, damaged, or has no such split.
    """
    if name in EMBEDDED and split != "train":
        raise UserError(f"{key}={name} has no test split of its own; hold rows out with data.test_fraction")
    root = root if name in TORCHVISION else ""
    try:
        arrays = _load_or_fetch(name, split, root) if download else _load(name, split, root)
    except _DAMAGED as error:
        raise UserError(_missing(name, root, download, key, reason_of(error))) from error
    num_rows, *shape = arrays.inputs.shape
    return InMemorySource(
        name,
        split,
        root,
        num_rows,
        tuple(shape),
        arrays.inputs.dtype,
        arrays.task,
        arrays.class_names,
        arrays.feature_names,
        arrays.checksum,
        arrays if name in EMBEDDED else None,
    )


def _load_or_fetch(name: str, split: str, root: str) -> Arrays:
    try:
        return _load(name, split, root)
    except _DAMAGED:
        _torchvision(name, split, root, download=True)
        return _load(name, split, root)


@lru_cache(maxsize=4)
def _load(name: str, split: str, root: str) -> Arrays:
    """A set's arrays, shared by all its sources in this process; not to be written to."""
    if name == "digits":
        return _digits()
    if name == "photo_patches":
        return Arrays(np.concatenate([_patches(photo) for photo in _photos()]), None)
    if name == "diabetes":
        return _diabetes()
    if name in GENERATED:
        return Arrays(*GENERATED[name]())
    return _torchvision(name, split, root, download=False)


def _digits() -> Arrays:
    from sklearn.datasets import load_digits

    data: Any = load_digits()
    labels = np.asarray(data.target, dtype=np.int64)
    names = tuple(str(name) for name in data.target_names)
    return Arrays(_stored(np.asarray(data.images, dtype=np.int64))[..., None], labels, names)


def _diabetes() -> Arrays:
    """442 patients, ten measurements as scikit-learn has them, and the disease's progress a year later (25 to 346)."""
    from sklearn.datasets import load_diabetes

    data: Any = load_diabetes(scaled=False)
    inputs = np.asarray(data.data, dtype=np.float32)
    targets = np.asarray(data.target, dtype=np.float32)
    return Arrays(inputs, targets, feature_names=tuple(str(name) for name in data.feature_names))


def _stored(levels: Ints) -> npt.NDArray[np.uint8]:
    """The digits' 17 levels of grey spread over 0 to 255."""
    return ((levels * 255 + _DIGIT_LEVELS // 2) // _DIGIT_LEVELS).astype(np.uint8)


def _photos() -> list[npt.NDArray[np.uint8]]:
    from sklearn.datasets import load_sample_image

    return [load_sample_image("china.jpg"), load_sample_image("flower.jpg")]


def _patches(photo: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Grey 8x8 patches of a photograph in the digits' 17 levels: uint8 [n, 8, 8, 1].

    They are cut from a grid without overlap; flat ones (sky, blur: fewer than 3 levels between darkest and
    brightest) are left out, because they show nothing; of the rest, at most 1,000 at even distances are kept.
    """
    red, green, blue = np.moveaxis(photo.astype(np.int64), -1, 0)
    grey = (299 * red + 587 * green + 114 * blue + 500) // 1000
    levels = (grey * _DIGIT_LEVELS + 127) // 255
    rows = levels.shape[0] // 8
    columns = levels.shape[1] // 8
    cells = levels[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8)
    cells = cells.transpose(0, 2, 1, 3).reshape(-1, 8, 8)
    cells = cells[np.ptp(cells.reshape(-1, 64), axis=1) >= _LEAST_CONTRAST]
    kept = np.arange(min(len(cells), _PATCHES_PER_PHOTO)) * len(cells) // min(len(cells), _PATCHES_PER_PHOTO)
    return _stored(cells[kept])[..., None]


def _torchvision(name: str, split: str, root: str, download: bool) -> Arrays:
    from torchvision import datasets

    chosen: dict[str, Any] = {"split": split} if name == "SVHN" else {"train": split == "train"}
    data: Any = getattr(datasets, name)(root, download=download, **chosen)
    inputs = np.asarray(data.data)
    if name == "SVHN":
        inputs = inputs.transpose(0, 2, 3, 1)
    labels = np.asarray(data.labels if name == "SVHN" else data.targets, dtype=np.int64)
    classes = getattr(data, "classes", None)
    names = None if classes is None else tuple(str(each) for each in classes)
    return Arrays(inputs[..., None] if inputs.ndim == 3 else inputs, labels, names)


def _missing(name: str, root: str, download: bool, key: str, reason: str) -> str:
    parquet = f"point {key} at a folder with the hub's Parquet layout, e.g. {TORCHVISION.get(name)} from the hub"
    if download:
        return f"{key}={name}: could not be fetched into data.torchvision_root={root} ({reason}); {parquet}"
    return f"{key}={name}: not usable in data.torchvision_root={root} ({reason}); set data.download=true or {parquet}"
