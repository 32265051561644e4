"""The Hydra student: one body, M light heads, head m imitating member m (Tran et al. 2020, arXiv 2001.04694).

It is: the student as a module, and its second phase (one head becomes M). The mean-distilled student (KD) and the
Dirichlet student are the same module with one head. It is not: a loss, training, or the size of disagreement.

Shapes: B batch, M heads, C outputs, F features of the body.
    stored inputs: uint8 [B, H, W, ch] or float32 [B, D] -> features_BF (or maps [B, F, h, w]) -> logits_BMC
    In a regression the C = 2 outputs are mean and log variance in target units.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Self

from torch import Tensor, nn

from hydra_ray.config import HeadKind
from hydra_ray.errors import UserError
from hydra_ray.models.block_heads import BlockHeads
from hydra_ray.models.blocks import cut_body
from hydra_ray.models.conv_heads import ConvHeads, normalises_by_batch
from hydra_ray.models.cost import evaluating
from hydra_ray.models.grouped import check_grouped
from hydra_ray.models.heads import BatchedHeads
from hydra_ray.models.input_check import check_inputs, check_values
from hydra_ray.models.members import ModelSpec, Normalise
from hydra_ray.models.outputs import build_output
from hydra_ray.models.precision import at_full_precision
from hydra_ray.models.registry import Network
from hydra_ray.randomness import THROWN_AWAY, seeded

Heads = BatchedHeads | ConvHeads | BlockHeads


class HydraStudent(nn.Module):
    """Normalisation, a shared body, M heads and what their outputs mean: stored inputs -> logits_BMC."""

    def __init__(self, spec: ModelSpec, normalise: Normalise, body: nn.Module, heads: Heads, output: nn.Module) -> None:
        super().__init__()
        self.spec = spec
        self.normalise = normalise
        self.body = body
        self.heads = heads
        self.output = output
        self._has_fixed_body = False

    def fix_body(self) -> None:
        """Train the heads alone from now on: the body has no gradients and always evaluates, BatchNorm included."""
        self._has_fixed_body = True
        self.body.requires_grad_(requires_grad=False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """As for every module, but for a body that is fixed."""
        super().train(mode)
        if self._has_fixed_body:
            self.body.eval()
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        """uint8 [B, H, W, ch] or float32 [B, D] -> logits_BMC."""
        outputs_BMC = at_full_precision(self.heads, self.features(inputs))
        return at_full_precision(self.output, outputs_BMC)

    def features(self, inputs: Tensor) -> Tensor:
        """uint8 [B, H, W, ch] or float32 [B, D] -> features_BF or maps [B, F, h, w], what all heads share.

        Raises:
            UserError: rows of another shape or type, or with values that are not finite; see `check_inputs`.
        """
        check_inputs(inputs, self.spec.input_shape, "student")
        if not self.training:
            check_values(inputs)
        return self.body(self.normalise(inputs))

    def expand(self, num_heads: int, noise: float, seed: int) -> "HydraStudent":
        """Phase 2: a student whose heads all start near this one's single head (see `BatchedHeads.expand`).

        All but the heads are the same objects, not copies: training either student trains the other's.

        Raises:
            ValueError: this student has more than one head.
        """
        heads = self.heads.expand(num_heads, noise, seed)
        spec = replace(self.spec, num_heads=num_heads)
        expanded = HydraStudent(spec, self.normalise, self.body, heads, self.output)
        if self._has_fixed_body:
            expanded.fix_body()
        return expanded.train(self.training)


def build_student(
    spec: ModelSpec, seed: int, normalise: Normalise | None = None, output: nn.Module | None = None
) -> HydraStudent:
    """A student with fresh weights that follow from `seed` and from nothing else.

    The body is that of `spec.architecture`: its own head is dropped, its pooling where heads have convolutions, and its
    last blocks where heads have those. The body's weights do not depend on the number, size or kind of the heads.
    `normalise` and `output` are copied; without them inputs, and the targets of a regression, are taken as they are (or
    the file to be loaded brings them).

    Raises:
        UserError: see `networks.build_network` and `body_and_heads`.
        ValueError: see `BatchedHeads`.
    """
    with seeded(seed):
        network = spec.build_network()
        body, make_heads = body_and_heads(spec, network)
        heads = make_heads()
    chosen = copy.deepcopy(normalise) or Normalise.identity(spec.input_shape)
    return HydraStudent(spec, chosen, body, heads, copy.deepcopy(output) or build_output(spec.output))


def suited_head(spec: ModelSpec) -> HeadKind:
    """The kind of heads for a body where none is named: before pooling, where the body ends in that.

    What each kind gives is measured in docs/fidelity.md. With `head_depth` 0 a head is a line.
    """
    if len(spec.input_shape) != 3 or spec.head_depth == 0:
        return "mlp"
    with seeded(THROWN_AWAY):
        network = spec.build_network()
    try:
        cut_body(network, spec.input_shape, 0, spec.architecture)
    except UserError:
        return "mlp"
    return "conv1x1"


def body_and_heads(spec: ModelSpec, network: Network) -> tuple[nn.Module, Callable[[], Heads]]:
    """What all heads of a student share, and what makes its heads with weights from torch's global generator.

    Args:
        spec: of the student.
        network: of its architecture; the body's weights are shared with it.

    Raises:
        UserError: heads of this kind do not suit the network; see `cut_body` and `check_grouped`.
    """
    sizes = (spec.num_heads, network.num_features)
    what = f"distill.head={spec.head}: the body {spec.architecture}"
    if spec.head in ("linear", "mlp"):
        depth = 0 if spec.head == "linear" else spec.head_depth
        return network.body, partial(BatchedHeads, *sizes, spec.head_width, depth, spec.num_outputs)
    if spec.head == "conv1x1":
        by_batch = normalises_by_batch(network.body)
        make = partial(ConvHeads, *sizes, spec.head_width, spec.head_depth, spec.num_outputs, by_batch=by_batch)
        return cut_body(network, spec.input_shape, 0, what).shared, make
    cut = cut_body(network, spec.input_shape, spec.cut, what)
    with evaluating(cut.private):
        check_grouped(cut.private, cut.maps)
    return cut.shared, partial(BlockHeads, cut.private, *sizes, spec.num_outputs)
