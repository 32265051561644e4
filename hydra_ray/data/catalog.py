"""From what a user wrote for a data set to its source, by format: known names, Parquet, CSV and image files.

Which files of a folder are which split's is in `split_files.py`; shares and labels are in `data_set.py`.
"""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import pyarrow.fs as pafs

from hydra_ray.data.image_folders import open_image_folder
from hydra_ray.data.images import ANY_IMAGE, ImageOptions
from hydra_ray.data.in_memory import EMBEDDED, TORCHVISION, open_in_memory
from hydra_ray.data.local_copies import how_to_get, local_copy
from hydra_ray.data.rows import Source
from hydra_ray.data.split_files import SPLIT_NAMES, Place, SplitName, is_parquet, is_text
from hydra_ray.data.tables.csv_files import open_csv
from hydra_ray.data.tables.options import ANY_TABLE, TableOptions
from hydra_ray.data.tables.parquet import open_parquet
from hydra_ray.data.tables.source import TableSource, Wanted
from hydra_ray.errors import UserError, close_to
from hydra_ray.storage import Folder

NAMES = (*EMBEDDED, *TORCHVISION)
"""All names that are not paths."""
_PARQUET_BEGINS = b"PAR1"


def open_source(
    name_or_path: str,
    split: SplitName,
    *,
    root: str,
    download: bool,
    key: str = "data.source",
    options: TableOptions = ANY_TABLE,
    needs_label: bool = True,
    train: Source | None = None,
    images: ImageOptions = ANY_IMAGE,
) -> Source:
    """Open one split of a data set.

    Args:
        name_or_path: `digits`, `photo_patches`, `diabetes`, a set of `generated.py`, a torchvision name, a Parquet or
            CSV file (which is its own and only split, whatever `split` says), or a folder with files
            `SPLIT-00000-of-0000N.parquet`, `SPLIT.parquet` or `SPLIT/*.parquet` (or the same of CSV, gzip or not),
            directly in it, in `data/` or in its only folder that has such files; or a folder of nothing but such files,
            whatever their names; or a folder of image files, a class a folder, in folders named after splits or
            without them. Paths may be URIs (s3://...). Relative paths and
            torchvision's names are looked up below $HYDRA_RAY_DATA too, see `local_copy`.
        split: "train", "validation" (files may say `valid`, `val` or `dev`) or "test".
        root: Folder of torchvision's sets.
        download: Whether torchvision may fetch a missing set.
        key: The configuration key that messages name.
        options: What the configuration says of Parquet and CSV.
        needs_label: False for a further set, whose labels nobody uses.
        train: The training rows' source, whose columns and classes a further one follows.
        images: What the configuration says of image files.

    Raises:
        UserError: unknown name, missing or damaged data, or no such split; one line with the way out.
    """
    copy = local_copy(name_or_path)
    if copy is None and name_or_path in NAMES:
        if needs_label:
            _check_no_options(options, images, name_or_path)
        folder = str(Path(root).expanduser().absolute())
        return open_in_memory(name_or_path, split, folder, download=download, key=key)
    place = _locate(copy or name_or_path, key)
    files = place.files_of(split)
    folder = None if files else place.image_folder(split)
    if not files and folder is None:
        raise UserError(f"{key}={name_or_path}: no {split} split; name its file {split}-00000-of-00001.parquet")
    columns = train.columns if isinstance(train, TableSource) else None
    wanted = Wanted(place.name, f"{key}={name_or_path}", options, needs_label, columns, images)
    if train is not None and needs_label:  # the publisher's other files, of the same key
        wanted = replace(wanted, place=f"{wanted.place}: {folder.name if folder else files[0].rsplit('/', 1)[-1]}")
    if folder is not None:
        return open_image_folder(folder, wanted)
    if _holds_parquet(place.folder.fs, files[0]):
        return open_parquet(place.folder.fs, files, wanted)
    return open_csv(place.folder.fs, files, wanted)


def _check_no_options(options: TableOptions, images: ImageOptions, name: str) -> None:
    """Refuse what is about columns of tables, or about image files, for a set that has neither."""
    if images.size is not None:
        raise UserError(
            f"data.image_size={images.size[0]}: {name} holds images of one size, no image files; leave data.image_size "
            "out, or give the hub's Parquet files of the set"
        )
    for key in fields(options):
        value = getattr(options, key.name)
        if value is not None:
            name_of = key.metadata.get("key", key.name)
            raise UserError(
                f"data.{name_of}={value}: {name} has labels of its own and no columns; leave data.{name_of} out"
            )


def split_names(name_or_path: str, *, key: str = "data.source") -> tuple[SplitName, ...]:
    """The splits that a data set has of its own, "train" first.

    A single file, scikit-learn's sets and the generated ones have "train" only.

    Raises:
        UserError: unknown name or missing path.
    """
    if name_or_path in EMBEDDED:
        return ("train",)
    copy = local_copy(name_or_path)
    if copy is None and name_or_path in TORCHVISION:
        return ("train", "test")
    place = _locate(copy or name_or_path, key)
    if place.file is not None:
        return ("train",)
    found: list[SplitName] = [split for split in SPLIT_NAMES if place.files_of(split)]
    found = found or [split for split in SPLIT_NAMES if place.image_folder(split)]
    if not found:
        empty = "holds no train-*.parquet or test-*.parquet, nor .csv, nor image files"
        raise UserError(f"{key}={name_or_path}: {empty}; {how_to_get(name_or_path, key)}")
    return tuple(found)


def _locate(name_or_path: str, key: str) -> Place:
    place = Folder.open(name_or_path.rstrip("/") or "/", key)
    if not place.is_local:
        place.check_answers(key)
    if not place.exists():
        raise UserError(_not_there(name_or_path, key))
    if place.fs.get_file_info(place.path).type == pafs.FileType.File:
        return Place(place.parent, place.name, key)
    return Place(place, None, key)


def _holds_parquet(filesystem: pafs.FileSystem, path: str) -> bool:
    """By its suffix, else by its first bytes."""
    if is_parquet(path) or is_text(path):
        return is_parquet(path)
    with filesystem.open_input_stream(path, compression=None) as stream:
        return stream.read(len(_PARQUET_BEGINS)) == _PARQUET_BEGINS


def _not_there(name_or_path: str, key: str) -> str:
    if re.search(r"[/\\.~]", name_or_path):
        return f"{key}={name_or_path}: no such file or folder; {how_to_get(name_or_path, key)}"
    near = close_to(name_or_path, NAMES, most=2)
    guess = f"; did you mean {' or '.join(near)}?" if near else ";"
    return f"{key}={name_or_path}: neither a known name nor a folder{guess} known: {', '.join(NAMES)}"
