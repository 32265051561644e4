"""Checks of a student's heads before the first worker starts: the part of `preflight.py` that knows what heads are."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

from hydra_ray.config import Config, DistillConfig, HeadKind, student_sizes
from hydra_ray.errors import UserError
from hydra_ray.models import ModelSpec, Network, body_and_heads, check_size, suited_head


def check_heads(config: Config, network: Network, body: ModelSpec) -> None:
    """Check that heads of every kind suit the body, and that the largest of any student or trial fit into memory.

    Args:
        config: the run's.
        network: of the student's architecture.
        body: says which that is.

    Raises:
        UserError: for the first problem found.
    """
    width, depth = (_largest(config, key) for key in ("head_width", "head_depth"))
    kinds = _choices(config, "head")
    if config.distill.head is None:
        kinds |= {suited_head(replace(body, head_depth=each)) for each in _choices(config, "head_depth")}
    _check_head_keys(config, kinds)
    heads = max(student_sizes(config))
    for kind, cut in product(kinds, _choices(config, "cut") or {1}):
        spec = replace(body, head=kind, cut=cut, num_heads=heads, head_width=width, head_depth=depth)
        _, make_heads = body_and_heads(spec, network)
        sizes = f"distill.cut={cut}" if kind == "block" else f"distill.head_width={width}, distill.head_depth={depth}"
        check_size(make_heads, f"{sizes}, {heads} heads")


def _check_head_keys(config: Config, kinds: set[HeadKind]) -> None:
    """Check that keys about heads speak of the kind that there is."""
    named = f"distill.head={' or '.join(sorted(kinds))}"
    cuts = _choices(config, "cut")
    if cuts and "block" not in kinds:
        raise UserError(f"distill.cut={max(cuts)}: {named} has no blocks; set distill.head=block, or leave cut out")
    if "conv1x1" in _choices(config, "head") and 0 in _choices(config, "head_depth"):
        raise UserError("distill.head_depth=0: heads with distill.head=conv1x1 have 1 convolution or more")
    for key in ("head_width", "head_depth"):
        unused = _choices(config, key) - {0, DistillConfig.model_fields[key].default}
        if unused and kinds <= {"linear", "block"}:
            raise UserError(
                f"distill.{key}={max(unused)}: {named} has no hidden layers; leave {key} out, or set distill.head=mlp"
            )


def _choices(config: Config, key: str) -> set[Any]:
    """The configured value of a key of `distill`, and those that a trial may draw; of a range its ends."""
    domain = config.tune.space.get(key, []) if config.tune.num_trials else []
    choices = [domain["low"], domain["high"]] if isinstance(domain, dict) else domain
    return {getattr(config.distill, key), *choices} - {None}


def _largest(config: Config, key: str) -> Any:
    """The largest value of a key of `distill`, or None where it has none."""
    return max(_choices(config, key), default=None)
