"""From what a user wrote for a data set to its source: known names, Parquet and CSV files and folders of them.

Splits, shares and labels are not looked at here; see `data_set.py`.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow.fs as pafs

from hydra_ray.datasets.csv_files import open_csv
from hydra_ray.datasets.in_memory import EMBEDDED, TORCHVISION, open_in_memory
from hydra_ray.datasets.parquet import open_parquet
from hydra_ray.datasets.rows import Source
from hydra_ray.datasets.tables import Wanted
from hydra_ray.errors import UserError
from hydra_ray.storage import Folder

SplitName = Literal["train", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "test")
NAMES = (*EMBEDDED, *TORCHVISION)
"""All names that are not paths."""
_SUFFIXES = ("parquet", "csv")


def open_source(
    name_or_path: str,
    split: SplitName,
    *,
    root: str,
    download: bool,
    key: str = "data.source",
    target: str | None = None,
    needs_target: bool = True,
) -> Source:
    """Open one split of a data set.

    Args:
        name_or_path: `digits`, `photo_patches`, `diabetes`, `spirals`, `wave`, a torchvision name, a Parquet or CSV
            file (which is its own and only split, whatever `split` says), or a folder with files
            `SPLIT-00000-of-0000N.parquet`, `SPLIT.parquet` or `SPLIT/*.parquet` (or the same of CSV), directly in it,
            in `data/` or in its only folder that has such files. Paths may be URIs (s3://...).
        split: "train" or "test".
        root: Folder of torchvision's sets.
        download: Whether torchvision may fetch a missing set.
        key: The configuration key that messages name.
        target: The column that a regression predicts, of Parquet and CSV.
        needs_target: False for a further set, whose labels nobody uses.

    Raises:
        UserError: unknown name, missing or damaged data, or no such split; one line with the way out.
    """
    if name_or_path in NAMES:
        if target is not None and needs_target:
            raise UserError(f"data.target={target}: {name_or_path} has labels of its own; leave data.target out")
        folder = str(Path(root).expanduser().absolute())
        return open_in_memory(name_or_path, split, folder, download=download, key=key)
    place = _locate(name_or_path, key)
    files = place.files_of(split)
    if not files:
        raise UserError(f"{key}={name_or_path}: no {split} split; name its file {split}-00000-of-00001.parquet")
    wanted = Wanted(place.name, f"{key}={name_or_path}", target, needs_target)
    opener = open_csv if files[0].endswith(".csv") else open_parquet
    return opener(place.folder.fs, files, wanted)


def split_names(name_or_path: str, *, key: str = "data.source") -> tuple[SplitName, ...]:
    """The splits that a data set has of its own, "train" first.

    A single file, scikit-learn's sets and the generated ones have "train" only.

    Raises:
        UserError: unknown name or missing path.
    """
    if name_or_path in EMBEDDED:
        return ("train",)
    if name_or_path in TORCHVISION:
        return SPLIT_NAMES
    place = _locate(name_or_path, key)
    if place.file is not None:
        return ("train",)
    found: list[SplitName] = [split for split in SPLIT_NAMES if place.files_of(split)]
    if not found:
        raise UserError(f"{key}={name_or_path}: holds no train-*.parquet or test-*.parquet, nor .csv; {_ways(key)}")
    return tuple(found)


@dataclass(frozen=True)
class _Place:
    """A file, or a folder that may hold files of splits."""

    folder: Folder
    file: str | None
    key: str

    @property
    def name(self) -> str:
        return self.file or self.folder.name

    def files_of(self, split: SplitName) -> list[str]:
        """Paths of a split's files in order; none where it has none."""
        if self.file is not None:
            return [f"{self.folder.path}/{self.file}"]
        found = _in_folder(self.folder, split, self.key) or _in_folder(self.folder / "data", split, self.key)
        return found or self._in_only_subfolder(split)

    def _in_only_subfolder(self, split: SplitName) -> list[str]:
        names = [name for name in self.folder.folders() if name != split and not name.startswith(".")]
        found = {name: _in_folder(self.folder / name, split, self.key) for name in names}
        found = {name: files for name, files in found.items() if files}
        if len(found) > 1:
            several = f"a {split} split lies in {', '.join(found)}"
            raise UserError(f"{self.key}={self.folder}: {several}; name one of these folders")
        return next(iter(found.values()), [])


def _locate(name_or_path: str, key: str) -> _Place:
    expanded = name_or_path if "://" in name_or_path else str(Path(name_or_path).expanduser())
    place = Folder.open(expanded.rstrip("/") or "/")
    if not place.exists():
        raise UserError(_not_there(name_or_path, key))
    if place.fs.get_file_info(place.path).type == pafs.FileType.File:
        return _Place(place.parent, place.name, key)
    return _Place(place, None, key)


def _in_folder(folder: Folder, split: SplitName, key: str) -> list[str]:
    names = folder.files()
    for suffix in _SUFFIXES:
        matches = [re.fullmatch(rf"{split}-(\d+)-of-(\d+)\.{suffix}", name) for name in sorted(names)]
        numbered = [match for match in matches if match]
        if numbered:
            _check_complete(folder, split, [(int(match[1]), int(match[2])) for match in numbered], key)
            return [f"{folder.path}/{match[0]}" for match in numbered]
        if f"{split}.{suffix}" in names:
            return [f"{folder.path}/{split}.{suffix}"]
    inner = folder / split
    files = sorted(inner.files())
    found = ([name for name in files if name.endswith(f".{suffix}")] for suffix in _SUFFIXES)
    return [f"{inner.path}/{name}" for name in next(filter(None, found), [])]


def _check_complete(folder: Folder, split: str, numbers: list[tuple[int, int]], key: str) -> None:
    """Refuse a folder in which a numbered file is missing, or which holds files of two exports."""
    totals = {total for _, total in numbers}
    missing = sorted(set(range(max(totals))) - {number for number, _ in numbers})
    if len(totals) > 1:
        raise UserError(f"{key}={folder}: {split} files of {sorted(totals)} parts are mixed; keep one export")
    if missing:
        raise UserError(f"{key}={folder}: {split} part {missing[0]} of {max(totals)} is missing; fetch it")


def _not_there(name_or_path: str, key: str) -> str:
    if re.search(r"[/\\.~]", name_or_path):
        return f"{key}={name_or_path}: no such file or folder; {_ways(key)}"
    lower = {name.lower(): name for name in NAMES}
    near = [lower[match] for match in difflib.get_close_matches(name_or_path.lower(), lower, n=2)]
    guess = f"; did you mean {' or '.join(near)}?" if near else ";"
    return f"{key}={name_or_path}: neither a known name nor a folder{guess} known: {', '.join(NAMES)}"


def _ways(key: str) -> str:
    return (
        f"point {key} at a Parquet or CSV file or a folder with the hub's Parquet layout (e.g. of ylecun/mnist), "
        "or give a torchvision name such as MNIST with data.download=true"
    )
