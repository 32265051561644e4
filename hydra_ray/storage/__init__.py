"""Folders on any file system, and the results in them: published whole, with a manifest, or not at all.

Knows nothing of stages, networks or data sets.
"""

from hydra_ray.storage.artifact import Artifact, fingerprint, not_finite
from hydra_ray.storage.events import EventFile
from hydra_ray.storage.failures import as_storage_error, storage_errors
from hydra_ray.storage.folder import Folder
from hydra_ray.storage.manifests import (
    MANIFEST,
    check_bytes,
    check_listed,
    check_sizes,
    describe,
    files_of,
    find_published,
    place_of,
    read_checked,
    read_manifest,
    sealed,
    unsealed,
    way_out,
)
from hydra_ray.storage.opening import below
from hydra_ray.storage.ownership import OWNER, Fence, owned
from hydra_ray.storage.plain_json import as_json
from hydra_ray.storage.publishing import WrittenFile

__all__ = [
    "MANIFEST",
    "OWNER",
    "Artifact",
    "EventFile",
    "Fence",
    "Folder",
    "WrittenFile",
    "as_json",
    "as_storage_error",
    "below",
    "check_bytes",
    "check_listed",
    "check_sizes",
    "describe",
    "files_of",
    "find_published",
    "fingerprint",
    "not_finite",
    "owned",
    "place_of",
    "read_checked",
    "read_manifest",
    "sealed",
    "storage_errors",
    "unsealed",
    "way_out",
]
