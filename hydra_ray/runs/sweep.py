"""Several runs of one recipe, each in a folder of its own below the sweep's, and the figures that they have together.

`--each seed=0,1,2` asks for one, and so does `data.test_split=all`, or a range such as `0-9`, for the standard splits
of a data set. Runs that differ by seed or split alone repeat one setting; means and deviations are taken over them.
`cluster/sweep.py` makes the runs, `report/sweep_tables.py` shows their figures.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import yaml

from hydra_ray.config import Config, parse_yaml
from hydra_ray.data import open_source
from hydra_ray.data.standard_splits import standard_splits
from hydra_ray.errors import UserError
from hydra_ray.evaluation import figure, figures
from hydra_ray.runs.named_inputs import image_options, table_options
from hydra_ray.runs.run import Run
from hydra_ray.storage import Folder, below, unsealed

SWEEP_FILE = "sweep.json"
SCHEMA = 2
SPLIT = "data.test_split"
REPEATED = ("seed", SPLIT)
"""Keys over whose values means are taken."""
_SECTIONS = ("test", "unknown", "fidelity", "cost")
_LONGEST_NAME = 100
Settings = Mapping[str, Any]
Load = Callable[[Sequence[str]], Config]
"""Loads the recipe with further `key=value` words."""


@dataclass(frozen=True)
class Sweep:
    """What a command asks for.

    Attributes:
        config: of the recipe, before any key of the sweep is set.
        settings: what each run sets, key -> value.
        runs: the configuration of each.
    """

    config: Config
    settings: tuple[Settings, ...]
    runs: tuple[Config, ...]

    def make_runs(self) -> list[Run]:
        """The runs; each knows the folders of the others, where results of the same key may lie, and the sweep's."""
        runs = [Run(config, group=self.config.name) for config in self.runs]
        folders = [runs[0].folder.parent, *(run.folder for run in runs)]
        for run in runs:
            run.siblings = tuple(folder for folder in folders if folder != run.folder)
        return runs


def sweep_of(each: Sequence[str], load: Load) -> Sweep | None:
    """The sweep that a command asks for; None where it asks for one run.

    Args:
        each: `key=value,value,...` words; every combination of their values is a run.
        load: of the recipe.

    Raises:
        UserError: a word is not of that form, a value is not valid, two runs would have one name, or the data set lacks
            a standard split that is asked for.
    """
    axes = dict(map(_axis, each))
    if len(axes) < len(each):
        raise UserError(f"--each: {each[-1].partition('=')[0]} stands there twice; give all its values at once")
    runs: list[tuple[Settings, Config]] = []
    for values in product(*axes.values()):
        settings = dict(zip(axes, values, strict=True))
        config = load([f"{key}={json.dumps(value)}" for key, value in settings.items()])
        runs += _by_split(settings, config)
    if not each and not runs[0][0]:
        return None
    return placed(load([]), *zip(*runs, strict=True))


def placed(shared: Config, settings: Sequence[Settings], configs: Sequence[Config]) -> Sweep:
    """A sweep whose runs have folders of their own below that of `shared`, named after their settings.

    Raises:
        UserError: two runs would have one name, or a name is too long.
    """
    names = [_name(each) for each in settings]
    _check_names(names)
    storage = below(shared.storage, shared.name)
    runs = [
        config.model_copy(update={"name": name, "storage": storage})
        for name, config in zip(names, configs, strict=True)
    ]
    return Sweep(shared, tuple(settings), tuple(runs))


def _axis(word: str) -> tuple[str, list[Any]]:
    key, _, text = word.partition("=")
    try:
        values = parse_yaml(f"[{text}]")
    except (yaml.YAMLError, ValueError):
        values = []
    if not key or not values:
        raise UserError(f"--each {word}: is not key=value,value, e.g. --each seed=0,1,2")
    if key in ("name", "storage"):
        raise UserError(f"--each {word}: every run has a folder of its own below the sweep's; leave {key} out")
    return key, values


def _by_split(settings: Settings, config: Config) -> list[tuple[Settings, Config]]:
    """One run, or one for each standard split where `data.test_split` asks for several."""
    if not isinstance(config.data.test_split, str):
        return [(settings, config)]
    splits = _splits(config)
    datas = [config.data.model_copy(update={"test_split": split}) for split in splits]
    return [({**settings, SPLIT: data.test_split}, config.model_copy(update={"data": data})) for data in datas]


def _splits(config: Config) -> list[int]:
    data = config.data
    source = open_source(
        data.source,
        "train",
        root=data.torchvision_root,
        download=data.download,
        options=table_options(data),
        images=image_options(data),
    )
    known = standard_splits(source)
    if not known:
        raise UserError(
            f"data.test_split={data.test_split}: {source.name} has no columns test_split_0, test_split_1, ..."
        )
    return _chosen(str(data.test_split), known)


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


def _name(settings: Settings) -> str:
    """Name of a run's folder: `seed=0,temperature=1`, of a split `split-00`."""
    lasts = [key.rpartition(".")[2] for key in settings]
    parts = []
    for (key, value), last in zip(settings.items(), lasts, strict=True):
        if key == SPLIT:
            parts.append(f"split-{value:02d}")
            continue
        text = value if isinstance(value, str) else json.dumps(value)
        parts.append(f"{last if lasts.count(last) == 1 else key}={re.sub('[^A-Za-z0-9_.+]+', '-', text).strip('-')}")
    return ",".join(parts)


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if len(name) > _LONGEST_NAME:
            raise UserError(f"--each: {name} is too long for a folder's name; write a recipe for each value")
        if names.count(name) > 1:
            raise UserError(f"--each: two runs would have the folder {name}; name every value once")


def summarise(sweep: Sweep, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The content of sweep.json.

    Args:
        sweep: that asked for the runs.
        runs: the metrics.json of each.

    Returns:
        `task`, `config`, the keys that are `repeated`, and `groups`: one for each setting, with its `settings`, the
        names of its `runs`, and under `figures` the tree of metrics.json with, in the place of every number, `mean`,
        `deviation` (standard deviation), `standard_error` (deviation / sqrt(n); both None for one run) and `num_runs`,
        those that have the figure. `spread` is the one that tables show: splits share most of their rows, and their
        papers give standard errors.
    """
    groups: dict[str, list[int]] = {}
    for place, settings in enumerate(sweep.settings):
        groups.setdefault(json.dumps(_setting(settings)), []).append(place)
    repeated = [key for key in REPEATED if key in sweep.settings[0]]
    return {
        "schema": SCHEMA,
        "task": runs[0].get("task"),
        "config": sweep.config.model_dump(),
        "repeated": repeated,
        "spread": "standard_error" if SPLIT in repeated else "deviation",
        "groups": [
            {
                "settings": json.loads(setting),
                "runs": [sweep.runs[place].name for place in places],
                "figures": _summary([runs[place] for place in places]),
            }
            for setting, places in groups.items()
        ],
    }


def read_sweep(folder: Folder) -> dict[str, Any] | None:
    """The content of a folder's sweep.json; None where there is none.

    Raises:
        UserError: it is damaged, or an older version has written it.
    """
    found = unsealed(folder, SWEEP_FILE)
    if found is not None and found.get("schema") != SCHEMA:
        raise UserError(f"{folder}/{SWEEP_FILE}: written by an older version; the sweep's command writes it anew")
    return found


def _setting(settings: Settings) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in REPEATED}


def _summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    paths = {path: None for metrics in runs for path, _ in figures(_measured(metrics))}  # in order, each once
    tree: dict[str, Any] = {}
    for path in paths:
        values = [value for metrics in runs if (value := figure(metrics, *path)) is not None]
        _put(tree, path, _mean_and_deviation(values))
    return tree


def _measured(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {section: metrics[section] for section in _SECTIONS if section in metrics}


def _mean_and_deviation(values: Sequence[float]) -> dict[str, float | int | None]:
    number = len(values)
    deviation = statistics.stdev(values) if number > 1 else None
    return {
        "mean": statistics.fmean(values) if values else None,
        "deviation": deviation,
        "standard_error": None if deviation is None else deviation / math.sqrt(number),
        "num_runs": number,
    }


def _put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value
