"""What teachers' answers depend on, for fingerprints: who is asked, with which options, and what is in their files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import pyarrow.fs as pafs

from hydra_ray.config import Config, TeachersConfig, import_own, source_of
from hydra_ray.data.content import contents_of
from hydra_ray.errors import UserError
from hydra_ray.storage import Folder, fingerprint
from hydra_ray.teachers.asked import described_options


def teacher_digests(config: Config) -> tuple[str, ...]:
    """What tells each teacher's answers from others', in order.

    What is in foreign shards is in the data set's fingerprint, as they are the data set.

    Raises:
        UserError: a file is missing, or a function cannot be imported.
    """
    key = {"kind": "shards"} if config.predict.shards is not None else teachers_key(config.ensemble.teachers)
    return tuple(fingerprint({**key, "member": number}) for number in range(config.ensemble.num_members))


def teachers_key(config: TeachersConfig) -> dict[str, Any]:
    """What their answers depend on; JSON-able."""
    paths = [*config.files, *array_paths(config)]
    key: dict[str, Any] = {"kind": config.kind, "outputs": config.outputs, "weights": config.weights}
    if config.are_asked:
        key |= {"options": described_options(config)}
    if config.function is not None:
        import_own(config.function)
        key |= {"function": config.function, "code": hashlib.sha256(source_of(config.function).encode()).hexdigest()}
    if config.kind == "arrays":
        key |= {"arrays": {split: len(_listed(files)) for split, files in config.arrays.items()}, "id": config.id}
    return {**key, "files": [_digest(path) for path in paths]}  # no paths: what is copied or moved stays the same


def array_paths(config: TeachersConfig) -> list[str]:
    """All files of predictions that exist already."""
    paths = [path for files in config.arrays.values() for path in _listed(files)]
    return paths if config.folds is None else [*paths, config.folds]


def _listed(files: str | list[str]) -> list[str]:
    return [files] if isinstance(files, str) else files


def _digest(path: str) -> str:
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
