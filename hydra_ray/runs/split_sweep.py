"""A sweep over the standard splits of a data set: one run a split, then mean and standard error of every figure.

This is what `data.test_split=all`, or a range such as `0-9`, asks for. `cluster/pipeline.py` runs the splits, and
`report/sweep_tables.py` shows the figures.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from hydra_ray.config import Config
from hydra_ray.data import open_source
from hydra_ray.data.standard_splits import standard_splits
from hydra_ray.errors import UserError
from hydra_ray.evaluation import figure, figures
from hydra_ray.runs.run import table_options

SWEEP_FILE = "sweep.json"
SCHEMA = 1
_SECTIONS = ("test", "unknown", "fidelity", "cost")


def is_sweep(config: Config) -> bool:
    """Whether a configuration asks for several splits, each a run."""
    return isinstance(config.data.test_split, str)


def split_configs(config: Config) -> list[Config]:
    """The configuration of each split's run, in folders `<name>/split-00` and so on.

    Raises:
        UserError: the data set has no standard splits, or lacks one of those asked for.
    """
    data = config.data
    source = open_source(
        data.source, "train", root=data.torchvision_root, download=data.download, options=table_options(data)
    )
    known = standard_splits(source)
    if not known:
        raise UserError(
            f"data.test_split={data.test_split}: {source.name} has no columns test_split_0, test_split_1, ..."
        )
    return [_config_of(config, split) for split in _chosen(str(data.test_split), known)]


def _chosen(choice: str, known: tuple[int, ...]) -> list[int]:
    if choice == "all":
        return list(known)
    first, last = map(int, choice.split("-"))
    wanted = range(first, last + 1)
    missing = [split for split in wanted if split not in known]
    if missing:
        raise UserError(
            f"data.test_split={choice}: there is no column test_split_{missing[0]}; use all, or a part of it"
        )
    return list(wanted)


def _config_of(config: Config, split: int) -> Config:
    return config.model_copy(
        update={
            "name": f"split-{split:02d}",
            "storage": f"{config.storage.rstrip('/')}/{config.name}",
            "data": config.data.model_copy(update={"test_split": split}),
        }
    )


def summarise(config: Config, runs: Sequence[tuple[int, Mapping[str, Any]]]) -> dict[str, Any]:
    """The content of sweep.json.

    Args:
        config: of the sweep.
        runs: number of each split and its metrics.json.

    Returns:
        `task`, `splits`, `config`, and under `figures` the tree of metrics.json with, in the place of every number,
        `mean`, `standard_error` (standard deviation / sqrt(n), None for one split) and `num_splits`, those that have
        the figure.
    """
    paths = {path: None for _, metrics in runs for path, _ in figures(_measured(metrics))}  # in order, each once
    tree: dict[str, Any] = {}
    for path in paths:
        values = [value for _, metrics in runs if (value := figure(metrics, *path)) is not None]
        _put(tree, path, _mean_and_error(values))
    return {
        "schema": SCHEMA,
        "task": runs[0][1].get("task"),
        "splits": [split for split, _ in runs],
        "config": config.model_dump(),
        "figures": tree,
    }


def _measured(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {section: metrics[section] for section in _SECTIONS if section in metrics}


def _mean_and_error(values: Sequence[float]) -> dict[str, float | int | None]:
    number = len(values)
    return {
        "mean": statistics.fmean(values) if values else None,
        "standard_error": statistics.stdev(values) / math.sqrt(number) if number > 1 else None,
        "num_splits": number,
    }


def _put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value
