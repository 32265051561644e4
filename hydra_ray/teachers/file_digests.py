"""What is in the files that teachers are made of, as a digest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow.fs as pafs

from hydra_ray.data.content import contents_of
from hydra_ray.errors import UserError
from hydra_ray.storage import Folder, fingerprint


def digest_of(path: str) -> str:
    """Of a file's bytes, or of all files below a folder.

    Raises:
        UserError: there is none.
    """
    place = Folder.open(path, "ensemble.teachers")
    if not place.exists():
        raise UserError(f"ensemble.teachers: {path}: no such file; mend the path")
    selector = pafs.FileSelector(place.path, recursive=True)
    is_folder = place.fs.get_file_info(place.path).type == pafs.FileType.Directory
    infos: Iterable[Any] = place.fs.get_file_info(selector) if is_folder else [place.fs.get_file_info(place.path)]
    paths = sorted(info.path for info in infos if info.type == pafs.FileType.File)
    contents = contents_of(place.fs, paths, f"ensemble.teachers: {path}")
    return fingerprint({each.path.removeprefix(place.path): each.digest for each in contents})
