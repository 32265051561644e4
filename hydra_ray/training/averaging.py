"""The average of a student's weights over the end of its training, beside the weights that are trained.

A power-function average (Karras et al. 2024, "Analyzing and improving the training dynamics of diffusion models",
section 3): after step t every weight moves 1 - (1 - 1/t)^(gamma + 1) of the way to its new value, so that step i
counts as i^gamma. Its width is a share of the training so far, however long that is; the first step counts in full and
the beginning fades away by itself, so that short trainings need no warm-up and no correction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

_Tensors = tuple[Tensor, ...] | list[Tensor]
_Fill = Callable[[nn.Module, Mapping[str, Tensor]], object]
_PREFIX = "averaged."  # of its tensors in a checkpoint


def gamma_of(width: float) -> float:
    """The exponent of an average whose standard deviation over steps is `width` of their number.

    The root of width^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3)).
    """
    inverse = width**-2
    return float(np.roots([1, 7, 16 - inverse, 12 - inverse]).real.max())


class WeightAverage:
    """The averaged weights of one network in training, and its averaged buffers: BatchNorm's running statistics.

    Args:
        model: in training; it is copied.
        width: of the average, as a share of the steps so far.
    """

    def __init__(self, model: nn.Module, width: float) -> None:
        self._power = gamma_of(width) + 1
        self._averaged = AveragedModel(model, multi_avg_fn=self._move, use_buffers=True)
        self._step = 0

    @property
    def model(self) -> nn.Module:
        """The network with the averaged weights."""
        return self._averaged.module

    def update(self, model: nn.Module, num_done: int) -> None:
        """After a step, of which so many are done."""
        self._step = num_done
        self._averaged.update_parameters(model)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint holds of it."""
        return {f"{_PREFIX}{name}": value for name, value in self.model.state_dict().items()}

    def load(self, tensors: Mapping[str, Tensor], fill: _Fill = nn.Module.load_state_dict) -> None:
        """Resume from what `state` returned; `fill` loads whole tensors into a network (`TrainState.fill`)."""
        ours = {name.removeprefix(_PREFIX): value for name, value in tensors.items() if name.startswith(_PREFIX)}
        fill(self.model, ours)
        self._averaged.n_averaged.fill_(1)  # or the next step would be taken for the first

    def _move(self, averaged: _Tensors, current: _Tensors, number: Tensor | int) -> None:
        move = get_ema_multi_avg_fn((1 - 1 / self._step) ** self._power)
        for kind in {type(each) for each in averaged}:  # weights in parts are moved apart from buffers, which are whole
            pairs = [pair for pair in zip(averaged, current, strict=True) if type(pair[0]) is kind]
            move([ours for ours, _ in pairs], [theirs for _, theirs in pairs], number)
