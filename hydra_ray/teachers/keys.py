"""What teachers' answers depend on, for fingerprints: who is asked, with which options, and what is in their files."""

from __future__ import annotations

import hashlib
from typing import Any

from hydra_ray.config import Config, TeachersConfig, import_own, source_of
from hydra_ray.storage import fingerprint
from hydra_ray.teachers.asked import described_options
from hydra_ray.teachers.file_digests import digest_of


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
    own = config.function or key.get("options", {}).get("network")  # of a library that takes a network of one's own
    if own is not None:
        import_own(own)
        key |= {"function": own, "code": hashlib.sha256(source_of(own).encode()).hexdigest()}
    if config.kind == "arrays":
        key |= {"arrays": {split: len(_listed(files)) for split, files in config.arrays.items()}, "id": config.id}
    return {**key, "files": [digest_of(path) for path in paths]}  # no paths: what is copied or moved stays the same


def array_paths(config: TeachersConfig) -> list[str]:
    """All files of predictions that exist already."""
    paths = [path for files in config.arrays.values() for path in _listed(files)]
    return paths if config.folds is None else [*paths, config.folds]


def _listed(files: str | list[str]) -> list[str]:
    return [files] if isinstance(files, str) else files
