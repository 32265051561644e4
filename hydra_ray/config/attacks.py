"""Attacks that a report tries (`evaluate.attacks`): inputs changed a little so that a predictor answers wrong.

Defaults are the white-box protocol of DVERGE (Yang et al. 2020, arXiv 2009.14720). The attacks themselves are in
`metrics/attacks.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

from hydra_ray.config.types import Count, NotNegative, Section, Several

AttackKind = Literal["fgsm", "pgd", "mim"]
AttackLoss = Literal["ce", "cw"]

Item = TypeVar("Item")


def _each_once(items: list[Item]) -> list[Item]:
    if len(set(items)) < len(items):
        raise ValueError("must name each once")
    return items


class AttacksConfig(Section):
    """What is tried, on how many rows, and how hard."""

    kinds: Annotated[list[AttackKind], Field(min_length=1), AfterValidator(_each_once)] = ["fgsm", "pgd", "mim"]
    """`fgsm`, one step; `pgd`, many steps from random starts; `mim`, many steps with momentum."""
    eps: Annotated[
        list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=1, max_length=100), AfterValidator(_each_once)
    ] = [0.01, 0.02, 0.05]
    """Largest changes of a pixel, where pixels are between 0 and 1."""
    rows: Count = 1000
    """Test rows that are attacked, a random choice where there are more."""
    steps: Several = 50
    """Of `pgd` and `mim`."""
    step_size: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Of `pgd` and `mim`, as a share of eps."""
    restarts: Several = 5
    """Random starts of `pgd` for each loss; one that succeeds is enough."""
    losses: Annotated[list[AttackLoss], Field(min_length=1), AfterValidator(_each_once)] = ["ce", "cw"]
    """What `pgd` climbs: `ce`, cross-entropy; `cw`, the best wrong class's lead over the label (Carlini & Wagner)."""
    confidence: NotNegative = 0.1
    """The lead, in logits, at which `cw` is content."""
    decay: NotNegative = 1.0
    """How much of the last step's direction `mim` keeps."""


def _entry(given: Any) -> Any:
    """Kinds alone are attacks with the defaults, and one kind is a list of one."""
    found = {"kinds": given} if isinstance(given, str | list) else given
    is_one = isinstance(found, Mapping) and isinstance(found.get("kinds"), str)
    return {**found, "kinds": [found["kinds"]]} if is_one else found


Attacks = Annotated[AttacksConfig, BeforeValidator(_entry)]
