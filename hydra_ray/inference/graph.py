"""A student as one graph for other runtimes: stored rows in, predictions and uncertainties out, calibration inside.

What follows the network is the code that `Student.predict` runs, so that both say the same. Files are written in
`export.py`.

B batch, C classes.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from hydra_ray.errors import UserError, reason_of
from hydra_ray.inference.answering import DATA, KNOWLEDGE, TOTAL, answering_of
from hydra_ray.inference.student import Student
from hydra_ray.training import kind_named

INPUT = "inputs"
HEADS = "network.heads"
"""Where the heads are in the graph."""


class Port(NamedTuple):
    """An input or output of a graph: its name, its type, and its shape without the batch."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]


class StudentGraph(nn.Module):
    """Stored rows, uint8 [B, H, W, channels] or float32 [B, D] -> a dictionary of float32 tensors.

    Classification: `probabilities` [B, C]; regression: `mean` and `std` [B]. Of both `total`, `data` and `knowledge`
    [B], the last where there are heads to disagree, or a Dirichlet. Sums over heads and classes are in float64, as
    knowledge uncertainty is a small difference.
    """

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.network = copy.deepcopy(student.network).cpu().requires_grad_(False)
        self.task = student.task
        self.kind = kind_named(student.about["kind"])
        self.calibration = student.calibration
        self.weights = student.about.get("member_weights")
        self.inputs = student.inputs
        self.eval()

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """See the class."""
        found = self.kind.prediction(self.task, self.network(inputs), self.calibration, self.weights)
        figures = self.task.figures
        scores = {TOTAL: figures.total, DATA: figures.data, KNOWLEDGE: figures.knowledge}
        uncertainties = {name: found.scores[score] for name, score in scores.items() if score in found.scores}
        answers = answering_of(self.task).quantities(found) | uncertainties
        return {name: values.float() for name, values in answers.items()}

    @property
    def takes(self) -> Port:
        """Its input."""
        return Port(INPUT, torch.uint8 if self.inputs.is_image else torch.float32, self.inputs.shape)

    @torch.no_grad()
    def gives(self) -> list[Port]:
        """Its outputs in order."""
        return [Port(name, values.dtype, tuple(values.shape[1:])) for name, values in self(self._example(1)).items()]

    @torch.no_grad()
    def program(self) -> ExportedProgram:
        """As `torch.export` has it, for batches of any size.

        Raises:
            UserError: the network, one of the user's own, cannot be followed.
        """
        try:
            found = torch.export.export(self, (self._example(2),), dynamic_shapes={INPUT: {0: Dim("batch", min=1)}})
        except Exception as error:  # whatever the network and torch's tracer raise
            raise UserError(
                f"{self.network.spec.architecture}: torch.export cannot follow this network ({reason_of(error, 200)}); "
                "write its forward without branches on values or on the number of rows"
            ) from error
        for node in found.graph.nodes:
            node.meta.pop("stack_trace", None)  # paths of this machine
        found.example_inputs = None  # they would be stored pickled
        return found

    def _example(self, num_rows: int) -> Tensor:
        return torch.zeros(num_rows, *self.inputs.shape, dtype=self.takes.dtype)
