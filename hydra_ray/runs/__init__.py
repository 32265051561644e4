"""A run: its folder, its stages and their fingerprints, the checks before it starts and the log of what it does.

No Ray here.
"""

from hydra_ray.runs.another_experiment import Redo, always, check_experiment, never, what_is_replaced
from hydra_ray.runs.gpus import resources_in_words
from hydra_ray.runs.model_store import load_published, publish_model
from hydra_ray.runs.named_inputs import group_weights
from hydra_ray.runs.pace import Pace
from hydra_ray.runs.plan import stage_state, stage_states
from hydra_ray.runs.preflight import (
    check_networks,
    check_object_store,
    check_resources,
    check_run,
    check_settings,
    features_that_say_nothing,
)
from hydra_ray.runs.provenance import software_facts
from hydra_ray.runs.quorum import in_words
from hydra_ray.runs.run import TRANSFER, Run
from hydra_ray.runs.siblings import has_sibling, take_from_siblings
from hydra_ray.runs.small_work import is_small, is_small_to_answer
from hydra_ray.runs.stage_times import StageTime, stage_times
from hydra_ray.runs.stages import STAGES, StageSpec
from hydra_ray.runs.study import STUDY_FILE, LoadVariant, study_results, sweep_of_study
from hydra_ray.runs.sweep import REPEATED, SPLIT, SWEEP_FILE, Load, Sweep, read_sweep, summarise, sweep_of
from hydra_ray.runs.teacher_lines import teacher_lines
from hydra_ray.runs.tracking import Listener, Stage, Tracker, WandbSink
from hydra_ray.runs.view_checks import check_views

__all__ = [
    "REPEATED",
    "SPLIT",
    "STAGES",
    "STUDY_FILE",
    "SWEEP_FILE",
    "TRANSFER",
    "Listener",
    "Load",
    "LoadVariant",
    "Pace",
    "Redo",
    "Run",
    "Stage",
    "StageSpec",
    "StageTime",
    "Sweep",
    "Tracker",
    "WandbSink",
    "always",
    "check_experiment",
    "check_networks",
    "check_object_store",
    "check_resources",
    "check_run",
    "check_settings",
    "check_views",
    "features_that_say_nothing",
    "group_weights",
    "has_sibling",
    "in_words",
    "is_small",
    "is_small_to_answer",
    "load_published",
    "never",
    "publish_model",
    "read_sweep",
    "resources_in_words",
    "software_facts",
    "stage_state",
    "stage_states",
    "stage_times",
    "study_results",
    "summarise",
    "sweep_of",
    "sweep_of_study",
    "take_from_siblings",
    "teacher_lines",
    "what_is_replaced",
]
