"""The typed configuration tree: the one interface of every command.

A recipe is a YAML file in `configs/`; `key=value` words on the command line override it. Unknown keys and
wrong types are refused with the place, the key, the value and the nearest valid name. This module imports
neither torch nor ray, so that a wrong key costs a fraction of a second. The keys themselves are in
`config_sections.py`, rules across keys in `config_rules.py`, how YAML is read in `config_files.py`, errors in words
in `config_errors.py`. What needs the data or the cluster to be checked is in `preflight.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from hydra_ray.config.messages import explain, section_at
from hydra_ray.config.rules import check_rules
from hydra_ray.config.sections import (
    ClusterConfig,
    DataConfig,
    DirichletConfig,
    DistillConfig,
    EnsembleConfig,
    EvaluateConfig,
    Optimisation,
    PredictConfig,
    Section,
    StudentKind,
    TrackingConfig,
    TransferConfig,
    TransferView,
    TuneConfig,
    ViewConfig,
)
from hydra_ray.config.types import FolderName, NotEmpty, Seed
from hydra_ray.config.yaml_files import assigned, flatten, parse_yaml, read_recipe, split_override
from hydra_ray.errors import UserError

__all__ = [
    "ClusterConfig",
    "Config",
    "DataConfig",
    "DirichletConfig",
    "DistillConfig",
    "EnsembleConfig",
    "EvaluateConfig",
    "Optimisation",
    "PredictConfig",
    "Section",
    "StudentKind",
    "TrackingConfig",
    "TransferConfig",
    "TransferView",
    "TuneConfig",
    "ViewConfig",
    "flatten",
    "load_config",
    "parse_yaml",
    "validate",
    "with_overlay",
]


class Config(Section):
    """Everything a run is made of."""

    name: FolderName
    """Folder of the run under `storage`; by default the recipe's file name."""
    storage: NotEmpty = "runs"
    """A folder, or a URI such as s3://bucket/runs."""
    seed: Seed = 0
    """Every random choice derives from it."""
    data: DataConfig
    """The data set."""
    ensemble: EnsembleConfig = EnsembleConfig()
    """The members."""
    transfer: TransferConfig = TransferConfig()
    """The inputs students learn on."""
    predict: PredictConfig = PredictConfig()
    """The shards."""
    students: list[StudentKind] = Field(default=["hydra"], min_length=1)
    """The students to train and compare."""
    distill: DistillConfig = DistillConfig()
    """How students are trained."""
    tune: TuneConfig = TuneConfig()
    """The search."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """The report."""
    cluster: ClusterConfig = ClusterConfig()
    """Resources."""
    tracking: TrackingConfig = TrackingConfig()
    """Figures' way out."""

    @property
    def student_kinds(self) -> list[StudentKind]:
        """Kinds that `distill` trains and `evaluate` compares."""
        return [self.distill.kind] if self.distill.kind else self.students

    @property
    def num_heads(self) -> int:
        """Heads of the Hydra student."""
        return self.distill.num_heads or self.ensemble.num_members

    @model_validator(mode="after")
    def _keys_agree(self) -> Self:
        check_rules(self)
        return self


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """The recipe at `path` with `key=value` overrides applied.

    Raises:
        UserError: no such file, not YAML, an unknown key, a wrong type or values that contradict each other.
    """
    tree = {"name": Path(path).stem, **read_recipe(Path(path))}
    given = [split_override(word) for word in overrides]
    for key, value in given:
        tree = assigned(tree, key, value, "command line")
    return validate(tree, str(path), overridden=[key for key, _ in given])


def validate(tree: Mapping[str, Any], place: str, *, overridden: Iterable[str] = ()) -> Config:
    """`tree` as a `Config`; errors name `place`, or the command line for an overridden key.

    Raises:
        UserError: one line.
    """
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise UserError(explain(error, place, Config, list(overridden))) from None


def with_overlay(config: Config, overlay: Mapping[str, Any], place: str) -> Config:
    """`config` with the keys of `overlay` (a nested mapping, e.g. tune/best.yaml) laid over it.

    Raises:
        UserError: the result is not valid; the line names `place`.
    """
    tree = config.model_dump()
    for key, value in _values_in(overlay):
        tree = assigned(tree, key, value, place)
    return validate(tree, place)


def _values_in(overlay: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; a mapping that is no section, such as an architecture's options, is a value."""
    for name, value in overlay.items():
        parts = (*above, str(name))
        if isinstance(value, Mapping) and section_at(Config, parts) is not None:
            yield from _values_in(value, parts)
        else:
            yield ".".join(parts), value
