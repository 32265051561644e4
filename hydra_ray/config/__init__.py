"""The configuration: one typed tree that every command reads, how recipes are loaded, and the errors of both.

Imports neither torch nor ray; what a key does is written where it is used.
"""

from hydra_ray.config.attacks import AttackKind, AttackLoss, AttacksConfig
from hydra_ray.config.cluster import ClusterConfig
from hydra_ray.config.import_paths import error_in_short, import_own, is_own, source_of
from hydra_ray.config.load import load_config, validate, with_overlay
from hydra_ray.config.member_groups import TIMM, is_published
from hydra_ray.config.messages import nearest
from hydra_ray.config.objectives import (
    OBJECTIVES,
    AdpConfig,
    DexDeepFmConfig,
    IndependentConfig,
    JointConfig,
    NegativeCorrelationConfig,
    ObjectiveConfig,
    TrsConfig,
)
from hydra_ray.config.options import NoOptions, OptionModels, named_views, parse_options
from hydra_ray.config.recipes import shipped_recipes
from hydra_ray.config.search import MACS, Goal, better, goal_of, overlay_of, space_of
from hydra_ray.config.sections import (
    DataConfig,
    DistillConfig,
    EnsembleConfig,
    MemberGroup,
    Optimisation,
    TrackingConfig,
    ViewConfig,
)
from hydra_ray.config.students import STUDENTS, StudentConfig, StudentKind
from hydra_ray.config.studies import Claim, Statement, Study, Variant, load_study, shipped_studies
from hydra_ray.config.teachers import LIBRARIES, OutputsSaid, TeachersConfig
from hydra_ray.config.transfer import TransferConfig, TransferView, views_for
from hydra_ray.config.tree import Config, student_sizes
from hydra_ray.config.tuning import TuneConfig
from hydra_ray.config.types import HeadKind, Section
from hydra_ray.config.yaml_files import flatten, parse_yaml

__all__ = [
    "LIBRARIES",
    "MACS",
    "OBJECTIVES",
    "STUDENTS",
    "TIMM",
    "AdpConfig",
    "AttackKind",
    "AttackLoss",
    "AttacksConfig",
    "Claim",
    "ClusterConfig",
    "Config",
    "DataConfig",
    "DexDeepFmConfig",
    "DistillConfig",
    "EnsembleConfig",
    "Goal",
    "HeadKind",
    "IndependentConfig",
    "JointConfig",
    "MemberGroup",
    "NegativeCorrelationConfig",
    "NoOptions",
    "ObjectiveConfig",
    "Optimisation",
    "OptionModels",
    "OutputsSaid",
    "Section",
    "Statement",
    "StudentConfig",
    "StudentKind",
    "Study",
    "TeachersConfig",
    "TrackingConfig",
    "TransferConfig",
    "TransferView",
    "TrsConfig",
    "TuneConfig",
    "Variant",
    "ViewConfig",
    "better",
    "error_in_short",
    "flatten",
    "goal_of",
    "import_own",
    "is_own",
    "is_published",
    "load_config",
    "load_study",
    "named_views",
    "nearest",
    "overlay_of",
    "parse_options",
    "parse_yaml",
    "shipped_recipes",
    "shipped_studies",
    "source_of",
    "space_of",
    "student_sizes",
    "validate",
    "views_for",
    "with_overlay",
]
