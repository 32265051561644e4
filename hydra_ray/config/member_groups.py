"""What follows from keys of members: an architecture from the name of its weights, M from the counts of groups.

Trees are completed before they are validated; whether what was given agrees is in `member_rules.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator

TIMM = "timm:"
"""Begins the name of an architecture, or of weights, of the library timm."""
_OF_TORCHVISION = re.compile(r"(\w+)_Weights\.\w+")


def is_published(weights: str) -> bool:
    """Whether weights are named as their publisher does, and not by the path of a file."""
    return weights.startswith(TIMM) or _OF_TORCHVISION.fullmatch(weights) is not None


def architecture_of(weights: str) -> str | None:
    """The architecture that published weights are of; None for those in a file."""
    if weights.startswith(TIMM):
        return weights
    found = _OF_TORCHVISION.fullmatch(weights)
    return found[1].lower() if found else None


def with_architecture(given: Any) -> Any:
    """A section of members with the architecture that follows from its weights, where it names none."""
    if not isinstance(given, Mapping) or not isinstance(given.get("weights"), str):
        return given
    architecture = architecture_of(given["weights"])
    return given if architecture is None else {"architecture": architecture, **given}


def with_first_group(given: Any) -> Any:
    """The section `ensemble` with what follows from its `members`: M, and the first group's network.

    What is no list of groups is left to be refused.
    """
    groups = given.get("members") if isinstance(given, Mapping) else None
    if not isinstance(groups, list) or not groups or not all(isinstance(group, Mapping) for group in groups):
        return given
    counts = [group.get("count", 1) for group in groups]
    if not all(type(count) is int and count > 0 for count in counts):
        return given
    first = with_architecture(groups[0])
    network = {key: first[key] for key in ("architecture", "options", "weights") if key in first}
    return {"num_members": sum(counts), **network, **given}


def _weights(text: str) -> str:
    if not is_published(text) and not text.endswith(".safetensors"):
        raise ValueError(
            "must be the path of a .safetensors file, a name of torchvision's such as ResNet18_Weights.DEFAULT, or "
            "timm:NAME"
        )
    return text


Weights = Annotated[str, AfterValidator(_weights)]
