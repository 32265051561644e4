"""Which files of a folder belong to which split, by their names alone. No file is opened here.

Names are those of the Hugging Face hub, of today and of older exports with a hash, in capitals or not; Parquet comes
before text where a folder has both, and both before folders of image files.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hydra_ray.errors import UserError
from hydra_ray.storage import MANIFEST, Folder, files_of

SplitName = Literal["train", "validation", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "validation", "test")
_WORDS: dict[SplitName, tuple[str, ...]] = {
    "train": ("train", "training", "transfer"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
_FORMATS = (r"\.parquet", r"\.(csv|tsv|data)(\.gz)?")
_IMAGES = re.compile(r"\.(png|jpe?g|jpe|bmp|gif|tiff?|webp|p[bgnp]m|ico|jp2|avif|tga)$", re.IGNORECASE)


@dataclass(frozen=True)
class Place:
    """A file, or a folder that may hold files of splits."""

    folder: Folder
    file: str | None
    key: str
    """The configuration key that messages name."""

    @property
    def name(self) -> str:
        """Of the file or folder, without the folders above."""
        return self.file or self.folder.name

    def files_of(self, split: SplitName) -> list[str]:
        """Paths of a split's files in order; none where it has none.

        They lie directly in the folder, in its `data/`, or in its only folder that has such files. Files of a folder in
        which no name says a split are the training split, as parts that some writer numbered.

        Raises:
            UserError: a numbered file is missing, or several files or folders could be meant.
        """
        if self.file is not None:
            return [f"{self.folder.path}/{self.file}"]
        return self._named_files(split) or (self._parts() if split == "train" else [])

    def _named_files(self, split: SplitName) -> list[str]:
        return self._inside(self.folder, split) or self._inside(self.folder / "data", split) or self._deeper(split)

    def _parts(self) -> list[str]:
        parts = _data_files(self.folder)
        if not parts or holds_images(self.folder) or any(map(self._named_files, SPLIT_NAMES)):
            return []
        return parts

    def image_folder(self, split: SplitName) -> Folder | None:
        """The folder with a split's image files; None where there is none.

        It is called as the split is, and lies directly in the folder, in its `data/`, or in its only folder that has
        such folders. Image files in a folder without any such folders are the training split.

        Raises:
            UserError: several folders could be meant.
        """
        if self.file is not None:
            return None
        for folder in (self.folder, self.folder / "data", *self._only_folder()):
            found = {name: self._split_folder(folder, name) for name in SPLIT_NAMES}
            if any(found.values()):
                return found[split]
        return self.folder if split == "train" and holds_images(self.folder) else None

    def _only_folder(self) -> list[Folder]:
        """The folder in this one, where there is one only."""
        names = [name for name in self.folder.folders() if not name.startswith((".", "__"))]
        return [self.folder / names[0]] if len(names) == 1 else []

    def _split_folder(self, folder: Folder, split: SplitName) -> Folder | None:
        inner = [name for name in folder.folders() if name.lower() in _WORDS[split] and holds_images(folder / name)]
        self._check_one(folder, split, inner)
        return folder / inner[0] if inner else None

    def _deeper(self, split: SplitName) -> list[str]:
        folders = [name for name in self.folder.folders() if not _is_split_folder(name) and not name.startswith(".")]
        found = {name: self._inside(self.folder / name, split) for name in folders}
        found = {name: files for name, files in found.items() if files}
        if len(found) > 1:
            several = f"a {split} split lies in {', '.join(found)}"
            raise UserError(f"{self.key}={self.folder}: {several}; name one of these folders")
        return next(iter(found.values()), [])

    def _inside(self, folder: Folder, split: SplitName) -> list[str]:
        """Files `SPLIT-00000-of-0000N.*` or `SPLIT.*`, else all data files of the folder `SPLIT/`."""
        names = sorted(folder.files())
        for suffix in _FORMATS:
            found = self._named(folder, split, suffix, names)
            if found:
                return [f"{folder.path}/{name}" for name in found]
        inner = [name for name in folder.folders() if name.lower() in _WORDS[split]]
        self._check_one(folder, split, inner)
        return _data_files(folder / inner[0]) if inner else []

    def _named(self, folder: Folder, split: SplitName, suffix: str, names: Sequence[str]) -> list[str]:
        words = "|".join(_WORDS[split])
        pattern = re.compile(rf"(?:{words})-(\d+)-of-(\d+)(?:-[0-9a-f]{{8,}})?{suffix}", re.IGNORECASE)
        numbered = [match for match in map(pattern.fullmatch, names) if match]
        plain = [name for name in names if re.fullmatch(rf"({words}){suffix}", name, re.IGNORECASE)]
        self._check_one(folder, split, plain + [match[0] for match in numbered[:1]])
        self._check_complete(folder, split, [(int(match[1]), int(match[2])) for match in numbered])
        in_order = sorted(numbered, key=lambda match: int(match[1]))
        return plain or [match[0] for match in in_order]

    def _check_one(self, folder: Folder, split: SplitName, names: Sequence[str]) -> None:
        if len(names) > 1:
            found = " and ".join(names[:2])
            raise UserError(f"{self.key}={folder}: {found} could both be the {split} split; keep one of them")

    def _check_complete(self, folder: Folder, split: SplitName, numbers: Sequence[tuple[int, int]]) -> None:
        """Refuse a folder in which a numbered file is missing, or which holds files of two exports."""
        if not numbers:
            return
        found = [number for number, _ in numbers]
        totals = {total for _, total in numbers}
        missing = sorted(set(range(max(totals))) - set(found))
        if len(totals) > 1 or len(set(found)) < len(found):
            raise UserError(f"{self.key}={folder}: {split} files of two exports are mixed; keep one export")
        if missing:
            raise UserError(f"{self.key}={folder}: {split} part {missing[0]} of {max(totals)} is missing; fetch it")


def is_parquet(path: str) -> bool:
    """Whether a path has the suffix of Parquet."""
    return path.lower().endswith(".parquet")


def is_text(path: str) -> bool:
    """Whether a path has a suffix of tables of text."""
    return re.search(rf"{_FORMATS[1]}$", path, re.IGNORECASE) is not None


def is_image(path: str) -> bool:
    """Whether a path has a suffix of image files."""
    return _IMAGES.search(path) is not None


def holds_images(folder: Folder) -> bool:
    """Whether an image file lies in a folder, or in a folder in it."""
    if any(is_image(name) for name in folder.files()):
        return True
    return any(holds_images(folder / name) for name in folder.folders() if not name.startswith((".", "__")))


def _is_split_folder(name: str) -> bool:
    return any(name.lower() in words for words in _WORDS.values())


def _data_files(folder: Folder) -> list[str]:
    names = sorted(folder.files())
    if MANIFEST in names:  # a run's own shards, which on an object store lie in a folder that the manifest names
        folder = files_of(folder)
        names = sorted(folder.files())
    for suffix in _FORMATS:
        found = [name for name in names if re.search(rf"{suffix}$", name, re.IGNORECASE)]
        if found:
            return [f"{folder.path}/{name}" for name in found]
    return []
