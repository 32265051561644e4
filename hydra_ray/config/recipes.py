"""Where recipes lie: a path of the user's, or the name of one that is shipped with the package."""

from __future__ import annotations

from pathlib import Path

from hydra_ray.config.messages import nearest

_PACKAGE = Path(__file__).parents[1]


def shipped_recipes() -> dict[str, Path]:
    """Name -> path: the wheel holds them in the package, a checkout beside it in configs/."""
    folders = [_PACKAGE / "configs", _PACKAGE.parent / "configs"]
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.yaml"))}


def recipe_path(name_or_path: str | Path) -> Path:
    """The path as it is, or of the shipped recipe that is called so: `digits`."""
    path = Path(name_or_path)
    if path.is_file() or path.name != str(name_or_path):
        return path
    return shipped_recipes().get(path.name, path)


def recipes_near(path: Path) -> str:
    """What may have been meant by a path that is not there."""
    beside = sorted(str(found) for found in path.parent.glob("*.yaml"))
    known = beside or sorted(str(found) for found in Path("configs").glob("*.yaml"))
    return nearest(str(path), [*known, *shipped_recipes()])
