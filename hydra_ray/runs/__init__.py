"""A run: its folder, its stages and their fingerprints, the checks before it starts and the log of what it does.

No Ray here.
"""

from hydra_ray.runs.another_experiment import Redo, always, check_experiment, never, what_is_replaced
from hydra_ray.runs.model_store import load_published, publish_model
from hydra_ray.runs.plan import stage_state, stage_states
from hydra_ray.runs.preflight import (
    check_networks,
    check_object_store,
    check_resources,
    check_run,
    check_settings,
    check_views,
    features_that_say_nothing,
)
from hydra_ray.runs.provenance import software_facts
from hydra_ray.runs.run import TRANSFER, Run
from hydra_ray.runs.split_sweep import SWEEP_FILE, is_sweep, split_configs, summarise
from hydra_ray.runs.stages import STAGES, StageSpec
from hydra_ray.runs.tracking import Listener, Stage, Tracker, WandbSink

__all__ = [
    "STAGES",
    "SWEEP_FILE",
    "TRANSFER",
    "Listener",
    "Redo",
    "Run",
    "Stage",
    "StageSpec",
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
    "is_sweep",
    "load_published",
    "never",
    "publish_model",
    "software_facts",
    "split_configs",
    "stage_state",
    "stage_states",
    "summarise",
    "what_is_replaced",
]
