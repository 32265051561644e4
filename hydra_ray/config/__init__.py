"""The configuration: one typed tree that every command reads, how recipes are loaded, and the errors of both.

Imports neither torch nor ray; what a key does is written where it is used.
"""

from hydra_ray.config.load import load_config, with_overlay
from hydra_ray.config.messages import nearest
from hydra_ray.config.options import NoOptions, OptionModels, named_views, parse_options
from hydra_ray.config.sections import (
    ClusterConfig,
    DataConfig,
    DistillConfig,
    EnsembleConfig,
    Optimisation,
    Section,
    StudentKind,
    TrackingConfig,
    TransferConfig,
    TransferView,
    TuneConfig,
    ViewConfig,
)
from hydra_ray.config.student_keys import OF_OTHERS, Goal, goal_of, space_of
from hydra_ray.config.tree import Config
from hydra_ray.config.yaml_files import flatten, parse_yaml

__all__ = [
    "OF_OTHERS",
    "ClusterConfig",
    "Config",
    "DataConfig",
    "DistillConfig",
    "EnsembleConfig",
    "Goal",
    "NoOptions",
    "Optimisation",
    "OptionModels",
    "Section",
    "StudentKind",
    "TrackingConfig",
    "TransferConfig",
    "TransferView",
    "TuneConfig",
    "ViewConfig",
    "flatten",
    "goal_of",
    "load_config",
    "named_views",
    "nearest",
    "parse_options",
    "parse_yaml",
    "space_of",
    "with_overlay",
]
