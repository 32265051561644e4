"""A data set ready for use: its splits, and the checks that find a mistake in it before any work starts.

Opening reads footers, labels and one row of each source, not the inputs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hydra_ray.data.catalog import open_source, split_names
from hydra_ray.data.described import lines_of
from hydra_ray.data.held_out import Groups, held_out_splits, rows_of, unseen_values
from hydra_ray.data.images import ANY_IMAGE, ImageOptions
from hydra_ray.data.local_copies import VARIABLE, local_copy
from hydra_ray.data.openml import fetch_missing
from hydra_ray.data.rows import Source, TaskName
from hydra_ray.data.split_files import SPLIT_NAMES, SplitName
from hydra_ray.data.splits import Part, Shares, Split, packed, unknown_split
from hydra_ray.data.standard_splits import standard_test_rows
from hydra_ray.data.tables.frames import to_frame
from hydra_ray.data.tables.options import ANY_TABLE, TableOptions
from hydra_ray.data.tables.shard_columns import are_of_shards
from hydra_ray.data.tables.source import TableSource
from hydra_ray.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class DataSet:
    """Splits with one input shape; small to pickle."""

    splits: dict[str, Split]
    """By `SplitId.name`: "train", "validation", "test", and one for each unknown set."""
    input_shape: tuple[int, ...]
    """(H, W, channels) or (D,)."""
    class_names: tuple[str, ...]
    """In order; the class's number where the source has no names. None in a regression."""
    task: TaskName = "classification"
    copies: tuple[tuple[str, str], ...] = ()
    """(as the user wrote it, where it was read) of what was found below $HYDRA_RAY_DATA."""

    @property
    def num_classes(self) -> int:
        """C; 0 in a regression."""
        return len(self.class_names)

    @property
    def num_outputs(self) -> int:
        """Outputs of a network: C logits; in a regression 2, mean and log variance."""
        return 2 if self.task == "regression" else self.num_classes

    @property
    def categories(self) -> tuple[int, ...]:
        """See `Source.categories`."""
        return self.splits["train"].source.categories

    def frame(self, inputs_ND: npt.NDArray[np.float32]) -> pd.DataFrame:
        """Rows of features as a table with the columns that the training rows' file has; see `to_frame`.

        Where the features never were columns, they are called as the source names them, else f0, f1, ...

        Args:
            inputs_ND: float32 [N, D].
        """
        import pandas as pd

        source = self.splits["train"].source
        if isinstance(source, TableSource) and source.columns.kind == "numbers":
            return to_frame(inputs_ND, source.columns)
        names = source.feature_names or [f"f{number}" for number in range(inputs_ND.shape[1])]
        return pd.DataFrame(inputs_ND, columns=list(names))

    def describe(self) -> dict[str, Any]:
        """What it is, for people and manifests; JSON-ready."""
        return {
            "task": self.task,
            "input_shape": list(self.input_shape),
            "num_classes": self.num_classes,
            "class_names": list(self.class_names),
            "splits": {
                name: {"source": each.source.name, "num_rows": each.num_rows, **_columns(each.source)}
                for name, each in self.splits.items()
            },
        }

    def lines(self) -> list[str]:
        """What is read, one line a source (see `described.py`), and one for each local copy that stands in for it."""
        found = [f"{name} is read from {place} (${VARIABLE})" for name, place in self.copies]
        return lines_of(self.splits, self.class_names) + found

    def fingerprint(self) -> dict[str, Any]:
        """Changes when a source's data change; seeds and shares are configuration and not part of it."""
        return {name: split.source.fingerprint() for name, split in self.splits.items()}

    def require_unchanged(self) -> None:
        """See `Source.require_unchanged`; of all sources."""
        for source in {id(split.source): split.source for split in self.splits.values()}.values():
            source.require_unchanged()


def _columns(source: Source) -> dict[str, Any]:
    """Of a table, which of its columns are read and how."""
    if not isinstance(source, TableSource):
        return {}
    return {"files": source.file_names, **source.columns.key(), "left_out": dict(source.columns.left_out)}


def open_data(
    source: str,
    *,
    root: str,
    download: bool,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
    max_train_rows: int | None,
    unknown: Mapping[str, str],
    unlabelled: Mapping[str, tuple[str, str]] | None = None,
    options: TableOptions = ANY_TABLE,
    split: int | None = None,
    images: ImageOptions = ANY_IMAGE,
    held_out: Groups | None = None,
) -> DataSet:
    """Open and check a data set.

    Args:
        source: Name or path; see `open_source`.
        root: Folder of torchvision's sets.
        download: Whether torchvision, or scikit-learn for `data/adult`, may fetch missing ones.
        validation_fraction: of the training source's rows held out, where the source has no validation split of
            its own; else unused.
        test_fraction: The same for test rows, where the source has no test split of its own; else unused.
        seed: Of the choice of rows.
        max_train_rows: Keep at most so many training rows, a seeded choice; the other splits stay.
        unknown: Our name -> name or path of an unknown set; its test split, or its only one.
        unlabelled: Split's name -> (key, name or path) of further rows without labels; their training or only split.
        options: What the configuration says of Parquet and CSV; a target makes a regression.
        split: Take the rows of the column `test_split_<split>` for test, instead of a share.
        images: What the configuration says of image files.
        held_out: Groups of rows that are further unknown sets.

    Raises:
        UserError: one line with the key: data missing, shares that leave a split empty, labels missing, fewer
            than 2 classes, a constant target, inputs of different shapes.
    """
    names = _own_splits(source, download=download)
    options = replace(options, unseen=unseen_values(held_out or {}))
    opener = partial(open_source, root=root, download=download, options=options, images=images)
    train = opener(source, "train")
    own: dict[SplitName, Source] = {
        name: _in_colour_as(train, opener(source, name, train=train)) for name in names if name != "train"
    }
    standard = None if split is None else standard_test_rows(train, split, has_own_test="test" in own)
    validation_fraction = 0.0 if "validation" in own else validation_fraction
    test_fraction = 0.0 if "test" in own or standard else test_fraction
    shares = Shares(train.num_rows, seed, validation_fraction, test_fraction, max_train_rows, standard, _broken(train))
    groups = _groups(train, held_out or {}, unknown)
    splits = _known_splits(train, own, shares, held_out or {})
    further = partial(_further, opener=opener, train=train)
    splits |= {unknown_split(name).name: _unknown_split(name, place, further) for name, place in unknown.items()}
    splits |= groups | _unlabelled_splits(unlabelled or {}, further)
    if train.task == "regression":
        _check_targets(splits)
    classes = () if train.task == "regression" else _checked_classes(splits)
    copies = _copies([source, *unknown.values(), *(place for _, place in (unlabelled or {}).values())])
    return DataSet(splits, train.input_shape, classes, train.task, copies)


def _own_splits(source: str, *, download: bool) -> tuple[SplitName, ...]:
    """The splits that the set has of its own, train among them; fetched where that is wanted and it is not there."""
    if download:
        fetch_missing(source)
    names = split_names(source)
    if "train" not in names:
        raise UserError(f"data.source={source}: has a {names[-1]} split only; add train-00000-of-00001.parquet")
    return names


def _unlabelled_splits(
    places: Mapping[str, tuple[str, str]], further: Callable[[str, SplitName, str], Source]
) -> dict[str, Split]:
    return {
        name: _whole(name, further(place, split_names(place, key=key)[0], key)) for name, (key, place) in places.items()
    }


def _copies(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """What of a data set was found below $HYDRA_RAY_DATA, each once."""
    found = {name: local_copy(name) for name in names}
    return tuple((name, place) for name, place in found.items() if place is not None)


def _known_splits(train: Source, own: Mapping[SplitName, Source], shares: Shares, held_out: Groups) -> dict[str, Split]:
    """Train, validation and test: the publisher's `own` as they are, the others out of the training source."""
    _check_shares(shares)
    if held_out:
        shares = replace(shares, held_out=packed(rows_of(train, held_out)))
    splits: dict[str, Split] = {}
    for part in SPLIT_NAMES:
        if part in own:
            _check_same_inputs(own[part], train, f"data.source={own[part].name}: {part}")
            splits[part] = _own_split(part, own[part], held_out)
        else:
            splits[part] = Split(part, train, shares, part)
            if splits[part].num_rows == 0:
                raise UserError(_empty(part, shares))
    return splits


def _own_split(part: Part, source: Source, held_out: Groups) -> Split:
    """All rows of a publisher's split, without groups that are held out."""
    if not held_out:
        return _whole(part, source)
    rows = packed(rows_of(source, held_out))
    return Split(part, source, Shares(source.num_rows, 0, 0, 0, None, broken=_broken(source), held_out=rows))


def _check_shares(shares: Shares) -> None:
    for key, share in (("validation_fraction", shares.validation), ("test_fraction", shares.test)):
        if not 0 <= share < 1:
            raise UserError(f"data.{key}={share}: must be at least 0 and below 1")
    if shares.validation + shares.test >= 1:
        raise UserError(_empty("train", shares))
    if shares.max_train_rows is not None and shares.max_train_rows < 1:
        raise UserError(f"data.max_train_rows={shares.max_train_rows}: must be at least 1, or none to keep all")


def _empty(part: Part, shares: Shares) -> str:
    if part == "train":
        both = f"data.validation_fraction={shares.validation} and data.test_fraction={shares.test}"
        return f"{both} leave no training row of {shares.num_rows} rows; lower them"
    share = shares.validation if part == "validation" else shares.test
    least = 1 / shares.num_rows
    return f"data.{part}_fraction={share} leaves none of {shares.num_rows} rows; use {least:.2g} or more"


def _unknown_split(name: str, place: str, further: Callable[[str, SplitName, str], Source]) -> Split:
    key = f"data.unknown.{name}"
    _check_set_name(name, key)
    return _whole(unknown_split(name).name, further(place, split_names(place, key=key)[-1], key))


def _check_set_name(name: str, key: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise UserError(f"{key}: the name becomes a folder's; use letters, digits, '_', '-' and '.'")


def _groups(train: Source, held_out: Groups, unknown: Mapping[str, str]) -> dict[str, Split]:
    """The groups of rows that are held out, each as an unknown set."""
    for name in held_out:
        _check_set_name(name, f"data.held_out.{name}")
        if name in unknown:
            raise UserError(f"data.held_out.{name}: data.unknown has a set of that name; choose another")
    return held_out_splits(train, held_out, _broken(train))


def _whole(name: str, source: Source) -> Split:
    """All rows of a source, but those that are broken."""
    broken = _broken(source)
    return Split(name, source, Shares(source.num_rows, 0, 0, 0, None, broken=broken) if broken else None)


def _broken(source: Source) -> tuple[int, ...]:
    """Positions of rows that are no image we can use (`data.skip_broken`)."""
    return tuple(row for row, _ in source.broken) if isinstance(source, TableSource) else ()


def _further(place: str, split: SplitName, key: str, *, opener: Callable[..., Source], train: Source) -> Source:
    """A source beside the training rows', of the same inputs."""
    source = _in_colour_as(train, opener(place, split, key=key, needs_label=False, train=train))
    _check_same_inputs(source, train, f"{key}={place}:")
    return source


def _in_colour_as(train: Source, source: Source) -> Source:
    """Files of grey images beside training rows in colour become colour, as grey rows among them do."""
    if not isinstance(source, TableSource) or source.columns.kind != "encoded":
        return source
    in_colour = (*source.input_shape[:2], 3)
    return replace(source, input_shape=in_colour) if train.input_shape == in_colour else source


def _check_same_inputs(source: Source, train: Source, subject: str) -> None:
    if (source.input_shape, source.dtype) != (train.input_shape, train.dtype):
        found, expected = (f"{each.dtype} {each.input_shape}" for each in (source, train))
        raise UserError(f"{subject} rows are {found}, but training rows {expected}; use a set of that shape")
    if source.feature_names and train.feature_names and source.feature_names != train.feature_names:
        found, expected = (", ".join(each.feature_names or ()) for each in (source, train))
        raise UserError(f"{subject} features are {found}, but training rows {expected}; bring them into that order")


def _check_targets(splits: Mapping[str, Split]) -> None:
    """Raises UserError for targets that are not there, or in which there is nothing to learn."""
    labels = {name: _labels(splits[name]) for name in ("train", "validation", "test")}["train"]
    name = splits["train"].source.name
    if _holds_predictions(splits["train"].source):
        return
    if len(labels) < 2:
        raise UserError(f"data.source={name}: there is 1 training row only; add rows, or raise data.max_train_rows")
    if labels.min() == labels.max():
        found = f"the target is {labels[0]:g} in all {len(labels)} training rows"
        raise UserError(f"data.source={name}: {found}, so there is nothing to learn; name another in data.target")


def _checked_classes(splits: Mapping[str, Split]) -> tuple[str, ...]:
    """The names of the classes, after a look at all labels of train, validation and test."""
    labels = {name: _labels(splits[name]) for name in ("train", "validation", "test")}
    source = splits["train"].source
    distinct = np.unique(labels["train"])
    if len(distinct) < 2 and not _holds_predictions(source):
        found = f"training rows are of class {distinct[0]} only"
        raise UserError(f"data.source={source.name}: {found}; add classes, or raise data.max_train_rows")
    largest = max(int(each.max()) for each in labels.values() if len(each))
    if source.class_names is None:
        return tuple(str(number) for number in range(largest + 1))
    if largest >= len(source.class_names):
        known = f"label {largest}, but its metadata name {len(source.class_names)} classes"
        raise UserError(f"data.source={source.name}: {known}; mend one of them")
    return source.class_names


def _holds_predictions(source: Source) -> bool:
    """Whether rows are those of shards, which members' predictions teach, so that they need no labels."""
    return isinstance(source, TableSource) and are_of_shards(source.column_names)


def _labels(split: Split) -> npt.NDArray[Any]:
    labels = split.read_labels()
    if split.name == "train" and _holds_predictions(split.source):
        return np.empty(0, np.int64) if labels is None else labels[labels >= 0]  # -1, or NaN, where there is none
    if labels is None:
        way = "add a column label, or name it in data.label"
        raise UserError(f"data.source={split.source.name}: {split.name} rows have no labels; {way}")
    if split.source.task == "classification" and labels.min() < 0:
        count = int((labels < 0).sum())
        raise UserError(f"data.source={split.source.name}: {count} {split.name} rows have no label; remove them")
    return labels
