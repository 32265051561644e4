"""What members minimise: each its own loss, or one loss of several that are trained together (`ensemble.objective`).

A kind is one class here and one function of its formula in `losses/group_objectives.py`, or `losses/own_objectives.py`
where it is of one member.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BeforeValidator, Field

from hydra_ray.config.messages import nearest
from hydra_ray.config.types import NotNegative, Positive, Section, Several


class ObjectiveConfig(Section):
    """A kind of objective and its own keys."""

    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression")
    """What it is for."""
    is_of_groups: ClassVar[bool] = True
    """Whether it is one loss of several members, on rows that all of them see in the same steps."""
    architecture: ClassVar[str | None] = None
    """The only one whose members have what it asks for; None where all do."""

    kind: Any
    """Its name; each section has a Literal of its own."""


class IndependentConfig(ObjectiveConfig):
    """Each member minimises its own loss, on rows in its own order."""

    is_of_groups = False

    kind: Literal["independent"] = "independent"


class JointConfig(ObjectiveConfig):
    """The loss of the members' mixture: they are trained as one network whose outputs are averaged."""

    kind: Literal["joint"] = "joint"


class NegativeCorrelationConfig(ObjectiveConfig):
    """Each member's loss, less what keeps it apart from the others' mean (Liu & Yao 1999)."""

    kind: Literal["negative_correlation"] = "negative_correlation"
    weight: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Of the squared distance to the mean: of probabilities, or of means in units of each variance. At 1 the members
    of a regression learn as one network."""


class AdpConfig(ObjectiveConfig):
    """Each member's loss, less the entropy of their mean and the volume of their other predictions (Pang et al.)."""

    tasks = ("classification",)

    kind: Literal["adp"] = "adp"
    entropy_weight: NotNegative = 2.0
    """Of the entropy of the mean probabilities, nats; alpha in the paper."""
    volume_weight: NotNegative = 0.5
    """Of ln det of the members' probabilities of all classes but the label's; beta in the paper."""


class TrsConfig(ObjectiveConfig):
    """Each member's loss, gradients that point elsewhere and losses that are smooth (Yang et al. 2021)."""

    tasks = ("classification",)

    kind: Literal["trs"] = "trs"
    scale: Positive = 5.0
    """Of both regularisers."""
    cosine_weight: NotNegative = 2.0
    """Of |cos| of two members' gradients by the inputs, the mean over pairs."""
    smoothness_weight: NotNegative = 2.0
    """Of twice the squared gradient at points nearby where it is steep."""
    first_radius: Positive = 0.1
    """How far those points are at first, in units of the normalised inputs; the radius grows evenly."""
    last_radius: Positive = 0.2
    """And at the end."""
    num_steps: Several = 6
    """Of the ascent to those points, each twice the work of a step of training."""


class DexDeepFmConfig(ObjectiveConfig):
    """Each member's own loss, less the diversity of its feature maps (Chen & Shi 2021); members stay independent."""

    tasks = ("classification",)
    is_of_groups = False
    architecture = "dexdeepfm"

    kind: Literal["dexdeepfm"] = "dexdeepfm"
    diversity_weight: NotNegative = 0.7
    """Of the maps' distance from their mean, the sum over layers by their attention."""
    l2_weight: NotNegative = 1e-4
    """Of the sum of squares of all weights, embeddings among them."""


_AnyObjective = IndependentConfig | JointConfig | NegativeCorrelationConfig | AdpConfig | TrsConfig | DexDeepFmConfig
OBJECTIVES: dict[str, type[ObjectiveConfig]] = {
    section.model_fields["kind"].default: section for section in get_args(_AnyObjective)
}
"""Kind -> its section."""


def _entry(given: Any) -> Any:
    """A bare name is a kind with its defaults."""
    if isinstance(given, ObjectiveConfig):
        return given
    found = given if isinstance(given, Mapping) else {"kind": given}
    kind = str(found.get("kind"))
    if kind not in OBJECTIVES:
        raise ValueError(f"kind must be one of {', '.join(OBJECTIVES)}")
    keys = [key for key in OBJECTIVES[kind].model_fields if key != "kind"]
    for key in found:
        if key != "kind" and key not in keys:
            raise ValueError(f"{kind} has no key {key}; {nearest(str(key), keys) if keys else 'it has none'}")
    return found


Objective = Annotated[_AnyObjective, Field(discriminator="kind"), BeforeValidator(_entry)]
