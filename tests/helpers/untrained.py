"""Students with random weights, of any kind, task and architecture: as quick to make as their network."""

from typing import Any

import torch

import hydra_ray
from hydra_ray.config import HeadKind
from hydra_ray.models import ModelSpec, Normalise, build_student
from hydra_ray.models.outputs import GaussianOutput


def untrained(
    task: str,
    architecture: str = "mlp",
    shape: tuple[int, ...] = (16, 16, 3),
    *,
    kind: str = "hydra",
    num_heads: int = 4,
    head: HeadKind = "mlp",
    **options: Any,
) -> "hydra_ray.Student":
    """Its heads disagree, its inputs are normalised, and it has a calibration where it has several heads."""
    is_class = task == "classification"
    output = "logits" if is_class else "gaussian"
    sizes = {"num_heads": num_heads, "head_width": 8, "head_depth": 1, "output": output}
    cut = 2 if head == "block" else 0
    spec = ModelSpec("student", architecture, shape, 6 if is_class else 2, options, head=head, cut=cut, **sizes)
    middle = 128.0 if len(shape) == 3 else 0.5
    normalise = Normalise(torch.full(shape[-1:], middle), torch.full(shape[-1:], middle / 2))
    network = build_student(spec, 0, normalise, None if is_class else GaussianOutput(3.0, 2.0)).eval()
    with torch.no_grad():
        for weights in network.heads.weights if head == "mlp" else [network.heads.linear.weight]:
            weights.mul_(3)
    classes = [f"class {number}" for number in range(6)] if is_class else []
    about = {"kind": kind, "task": task, "classes": classes, "inputs": {"shape": list(shape)}}
    if num_heads > 1:
        about["calibration"] = 1.7
    return hydra_ray.Student(network, about)
