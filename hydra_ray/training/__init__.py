"""Training members and students: plain PyTorch, any number of ranks, no Ray.

Also the parameters that trials of a search draw, and how trials are compared.
"""

from hydra_ray.training.calibration import Calibration, calibration_from_json
from hydra_ray.training.checkpoints import Checkpoints
from hydra_ray.training.group import Together, fit_group
from hydra_ray.training.kinds import kind_named, kinds
from hydra_ray.training.loop import DistributedContext, Team
from hydra_ray.training.member import LabelledRows, MemberSpec, fit_member
from hydra_ray.training.search_space import Sampler, drawn
from hydra_ray.training.stack_size import stacks
from hydra_ray.training.stacked import StackSlot, fit_stacked
from hydra_ray.training.student import Distillation, InputOutputScaling, Report, distil, plan_of, step_times
from hydra_ray.training.student_figures import HeldOut, facts_of, predict
from hydra_ray.training.trials import StoppingRule, Trial, Values, best_of, outcome, stops, table_of, values_of

__all__ = [
    "Calibration",
    "Checkpoints",
    "Distillation",
    "DistributedContext",
    "HeldOut",
    "InputOutputScaling",
    "LabelledRows",
    "MemberSpec",
    "Report",
    "Sampler",
    "StackSlot",
    "StoppingRule",
    "Team",
    "Together",
    "Trial",
    "Values",
    "best_of",
    "calibration_from_json",
    "distil",
    "drawn",
    "facts_of",
    "fit_group",
    "fit_member",
    "fit_stacked",
    "kind_named",
    "kinds",
    "outcome",
    "plan_of",
    "predict",
    "stacks",
    "step_times",
    "stops",
    "table_of",
    "values_of",
]
