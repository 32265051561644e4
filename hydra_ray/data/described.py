"""What is read of a data set, in words: one line a source, so that whatever was guessed can be seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from hydra_ray.data.image_folders import ImageFolderSource
from hydra_ray.data.rows import Source
from hydra_ray.data.splits import Split
from hydra_ray.data.tables.columns import Columns
from hydra_ray.data.tables.labels import shortened
from hydra_ray.data.tables.reading import Reading
from hydra_ray.data.tables.source import TableSource
from hydra_ray.errors import in_one_line

_MOST_COLUMNS = 8


def lines_of(splits: Mapping[str, Split], class_names: Sequence[str]) -> list[str]:
    """One line a source: its splits and files, inputs, label or target, classes, columns left out and why.

    Args:
        splits: of a data set, by name.
        class_names: of its classes in order; none in a regression.
    """
    names: dict[int, list[str]] = {}
    for name, split in splits.items():
        names.setdefault(id(split.source), []).append(name)
    train = splits["train"].source
    return [_line({name: splits[name] for name in group}, train, class_names) for group in names.values()]


def _line(splits: Mapping[str, Split], train: Source, class_names: Sequence[str]) -> str:
    source = next(iter(splits.values())).source
    rows = ", ".join(f"{name} {split.num_rows:,}" for name, split in splits.items())
    parts = [f"{rows} rows of {source.name}{_files(source)}", _inputs(source, is_train=source is train)]
    if source is train:
        parts += [_labels(source, class_names), *_without_rows(splits["train"], class_names)]
    elif isinstance(source, TableSource) and source.columns.label:
        parts.append(f"{_meaning(source)} {source.columns.label}")
    if isinstance(source, TableSource):
        parts += [*source.columns.remarks, *source.notes, *_broken(source), *_left_out(source.columns)]
    return in_one_line("; ".join(parts))


def _files(source: Source) -> str:
    if not isinstance(source, TableSource) or source.file_names == [source.name]:
        return ""
    return f" ({shortened(source.file_names, most=2)})"


def _inputs(source: Source, *, is_train: bool) -> str:
    shape = " x ".join(str(size) for size in source.input_shape)
    if not isinstance(source, TableSource) or source.columns.kind != "numbers":
        column = ""
        if isinstance(source, TableSource) and not isinstance(source, ImageFolderSource):
            column = f" in column {source.columns.inputs[0]}"
        return f"{'pixels' if len(source.input_shape) > 1 else 'features'} {shape}{column}"
    reading = source.columns.reading
    sizes = {name: len(values) for name, values in reading.codes}
    numbers = [name for name in source.columns.inputs if name not in sizes]
    if reading.is_plain:
        return f"{len(numbers)} features {_numbers(numbers, reading)}"
    if not is_train:
        return f"{len(source.columns.inputs)} columns, read as those of the training rows"
    categories = shortened([f"{name} ({size:,} values)" for name, size in sizes.items()], _MOST_COLUMNS)
    parts = [f"{len(numbers)} columns of numbers {_numbers(numbers, reading)}"] if numbers else []
    parts += [f"{len(sizes)} of categories {categories}"] if sizes else []
    return " and ".join(parts)


def _numbers(names: Sequence[str], reading: Reading) -> str:
    """Columns of numbers; those that are changed before they are used come first."""
    offsets = dict(reading.offsets)
    decimals = dict(reading.decimals)
    shown = {name: _feature(name, offsets, decimals) for name in names}
    changed = [text for name, text in shown.items() if text != name]
    return shortened([*changed, *(text for text in shown.values() if text not in changed)], _MOST_COLUMNS)


def _feature(name: str, offsets: Mapping[str, float], decimals: Mapping[str, str]) -> str:
    text = f"{name} less {offsets[name]:.12g}" if name in offsets else name
    return f"{text} (decimal comma)" if decimals.get(name) == "," else text


def _meaning(source: TableSource) -> str:
    return "target" if source.task == "regression" else "label"


def _labels(source: Source, class_names: Sequence[str]) -> str:
    column = source.columns.label if isinstance(source, TableSource) else None
    if source.task == "regression":
        return f"target {column}" if column else "targets of its own"
    classes = f"{len(class_names)} classes {shortened(class_names)}"
    return f"label {column}, {classes}" if column else classes


def _without_rows(train: Split, class_names: Sequence[str]) -> Iterable[str]:
    """Classes that the training rows happen to have none of."""
    labels = train.read_labels()
    if not class_names or labels is None:
        return
    there = set(np.unique(labels).tolist())
    missing = [name for number, name in enumerate(class_names) if number not in there]
    if missing:
        yield f"no training row of class {shortened(missing)}"


def _broken(source: TableSource) -> Iterable[str]:
    """How many images are left out as they cannot be used, and the first of them."""
    if source.broken:
        found = [f"{source.row_name(row)} {reason.split('; ')[0]}" for row, reason in source.broken]
        verb = "images that cannot be used" if len(found) > 1 else "image that cannot be used"
        yield f"left out {len(found):,} {verb}: {shortened(found, most=2)}"


def _left_out(columns: Columns) -> Iterable[str]:
    reasons: dict[str, list[str]] = {}
    for name, why in columns.left_out:
        reasons.setdefault(why, []).append(name or "''")
    found = [f"{shortened(names, _MOST_COLUMNS)} ({why})" for why, names in reasons.items()]
    if found:
        yield f"left out {', '.join(found)}"
