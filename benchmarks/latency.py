"""`infer`: one member, the ensemble one by one and stacked, and Hydra, at batch 1 and 256, on one CPU thread."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.pairs import Table, round_robin
from benchmarks.workplace import Setting
from hydra_ray.models.cost import count_macs, num_parameters
from hydra_ray.models.ensemble import Ensemble
from hydra_ray.models.members import Member, ModelSpec, build_member
from hydra_ray.models.student import build_student

SHAPE = (28, 28, 1)
MEMBER = ModelSpec("member", "mlp", SHAPE, 10, {"hidden": [200, 200]})
BODY = {"hidden": [208, 176]}  # of the recipe mnist.yaml, whose heads are linear
COLUMNS = [
    "M",
    "predictor",
    "parameters",
    "MACs",
    "ms, batch 1",
    "ms, batch 256",
    "x one member, 1",
    "x one member, 256",
]
BATCHES = (1, 256)


def student_spec(num_heads: int) -> ModelSpec:
    """mnist.yaml's student with so many heads."""
    return ModelSpec("student", "mlp", SHAPE, 10, BODY, num_heads=num_heads, head_width=32, head_depth=0)


def predictors(num_members: int) -> dict[str, nn.Module]:
    """The ensemble, one by one and stacked, and Hydra, all of M."""
    members = [build_member(MEMBER, number) for number in range(num_members)]
    return {
        "ensemble, one by one": Ensemble(members, stacked=False),
        "ensemble, stacked": Ensemble(members, stacked=True),
        "hydra": build_student(student_spec(num_members), 0).eval(),
    }


def infer(setting: Setting) -> list[Table]:
    """Milliseconds of one forward pass, median over rounds."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    rows: list[list[Any]] = []
    for number in setting.pick((5, 20, 50, 200), (5,)):
        rows += _rows(number, setting.pick(30, 3))
    torch.set_num_threads(before)
    title = "MNIST MLP 784-200-200-10; Hydra: body 208-176, linear heads. One thread; uint8 images in, logits out."
    return [Table("infer", title, COLUMNS, rows)]


def _rows(num_members: int, repeats: int) -> list[list[Any]]:
    member: Member = build_member(MEMBER, 0).eval()
    models: dict[str, nn.Module] = {"one member": member, **predictors(num_members)}
    seconds = {size: _latencies(models, size, repeats) for size in BATCHES}
    return [
        [
            num_members if name != "one member" else 1,
            name,
            num_parameters(model),
            count_macs(model, SHAPE),
            *(1e3 * seconds[size][name] for size in BATCHES),
            *(round(seconds[size][name] / seconds[size]["one member"], 2) for size in BATCHES),
        ]
        for name, model in models.items()
    ]


def _latencies(models: dict[str, nn.Module], size: int, repeats: int) -> dict[str, float]:
    inputs = torch.zeros(size, *SHAPE, dtype=torch.uint8)
    calls: dict[str, Callable[[], Tensor]] = {name: partial(_ask, model, inputs) for name, model in models.items()}
    return round_robin(calls, repeats)


@torch.no_grad()
def _ask(model: nn.Module, inputs: Tensor) -> Tensor:
    return model(inputs)
