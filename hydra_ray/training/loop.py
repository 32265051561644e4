"""What members and students are trained with: network, optimiser and schedule, checkpoints, any number of ranks.

A training step reads from top to bottom where it is taken, `member_step` (`member.py`), `stack_step` (`stacked.py`) and
`_PhaseFit._step` (`student.py`): begin, forward, loss, backward, clip, update. Here are its parts; plain PyTorch that
knows nothing of Ray, of members or of heads. W ranks and one rank with the same global batch take the same steps, up to
the order of sums, however the rows that count are spread over the ranks; dropout draws on each rank for itself.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from hydra_ray.config import Optimisation
from hydra_ray.losses import Correlated, Summed, share_of_mean
from hydra_ray.randomness import seed_generators, seed_of
from hydra_ray.shards import Sharing

Tick = Callable[[int, int], None]
"""Told how many steps are done, and of how many."""


@dataclass(frozen=True)
class DistributedContext:
    """This process among those that train one network together, `sharing` rows with those of its machine."""

    rank: int = 0
    num_ranks: int = 1
    sharing: Sharing = field(default_factory=Sharing)

    def wrap(self, model: nn.Module) -> nn.Module:
        """`model`; where there are several ranks, with gradients averaged over them.

        BatchNorm sees the whole batch on GPUs. On CPUs there is no synchronised BatchNorm: each rank normalises by
        its own rows (9e-3 in the weights after 21 steps of a small CNN); `norm: group` has no such dependence.
        """
        if self.num_ranks == 1:
            return model
        if not next(model.parameters()).is_cuda:
            return DistributedDataParallel(model)
        synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return DistributedDataParallel(synchronised, device_ids=[torch.cuda.current_device()])

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a tensor over ranks."""
        if self.num_ranks == 1:
            return value
        value = value.detach().clone()
        dist.all_reduce(value)
        return value / self.num_ranks

    def share_of_loss(self, terms: Sequence[Summed | Correlated], *, is_even: bool) -> Tensor:
        """What this rank minimises: the mean of the ranks' shares is the loss over all rows of the batch.

        Args:
            terms: of this rank's rows.
            is_even: whether every rank has as many rows of the batch.
        """
        return share_of_mean(terms, self.num_ranks, dist.all_reduce, is_even=is_even)

    def wait(self) -> None:
        """Wait until all ranks are here."""
        if self.num_ranks > 1:
            dist.barrier()

    @property
    def is_first(self) -> bool:
        """Whether this rank writes files and reports."""
        return self.rank == 0


class TrainState:
    """A network in training: model, optimiser, schedule and the number of steps done."""

    def __init__(
        self,
        model: nn.Module,
        settings: Optimisation,
        *,
        num_steps: int,
        seed: int,
        ranks: DistributedContext = DistributedContext(),
        tick: Tick | None = None,
    ) -> None:
        """At step 0.

        Args:
            model: on its device already.
            settings: optimiser, learning rate, precision and whether to compile.
            num_steps: of the whole training; the schedule ends there.
            seed: of dropout; each step and rank draws its own numbers, so that a resumed training draws the same.
            ranks: this process among its peers.
            tick: called after each step.
        """
        self._tick = tick
        self.model = model
        self.settings = settings
        self.num_steps = num_steps
        self.num_done = 0
        self._seed = seed
        self._ranks = ranks
        wrapped = ranks.wrap(model)
        self._wrapped = torch.compile(wrapped) if settings.compile else wrapped
        self._optimizer = _optimizer(model, settings)
        self._device = next(model.parameters()).device
        self._autocast = _autocast(settings, self._device)

    def begin_step(self) -> None:
        """Seed what the step draws, set its learning rate and forget the gradients of the step before."""
        seed_generators(seed_of(self._seed, "step of a fit", self.num_done, self._ranks.rank), self._device)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self.settings, self.num_done, self.num_steps)
        self._optimizer.zero_grad(set_to_none=True)

    def forward(self, inputs: Tensor) -> Tensor:
        """The model's outputs as float32, computed in the precision of the settings."""
        with self._autocast():
            outputs = self._wrapped(inputs)
        return outputs.float()

    def update(self) -> None:
        """Move the weights along their gradients."""
        self._optimizer.step()
        self.num_done += 1
        if self._tick is not None:
            self._tick(self.num_done, self.num_steps)

    @property
    def progress(self) -> float:
        """Fraction of the steps that is done."""
        return self.num_done / self.num_steps

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint holds: `num_done`, `model.<name>` and `optimizer.<number of the parameter>.<field>`."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for index, state in self._optimizer.state_dict()["state"].items():
            tensors |= {
                f"optimizer.{index}.{name}": torch.as_tensor(value)
                for name, value in state.items()
                if value is not None
            }
        return {**tensors, "num_done": torch.tensor(self.num_done)}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Resume from what `state` returned."""
        self.num_done = int(tensors["num_done"])
        self.model.load_state_dict(_below(tensors, "model."))
        optimizer = self._optimizer.state_dict()
        for name, value in _below(tensors, "optimizer.").items():
            index, field = name.split(".", 1)
            optimizer["state"].setdefault(int(index), {})[field] = value
        self._optimizer.load_state_dict(optimizer)


def clip_gradients(parameters: Iterable[Tensor], max_norm: float | None) -> None:
    """Shorten the gradient of all parameters together to `max_norm`, where one is set."""
    if max_norm is not None:
        nn.utils.clip_grad_norm_(parameters, max_norm)


def learning_rate(settings: Optimisation, step: int, num_steps: int) -> float:
    """Linear warm-up to the peak, then half a cosine to zero (Loshchilov & Hutter 2017)."""
    warmup = int(settings.warmup_fraction * num_steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, num_steps - warmup)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _optimizer(model: nn.Module, settings: Optimisation) -> torch.optim.Optimizer:
    # fused: one pass over the parameters instead of a dozen small operations for each
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            model.parameters(),
            settings.learning_rate,
            momentum=0.9,
            nesterov=True,
            weight_decay=settings.weight_decay,
            fused=True,
        )
    return torch.optim.AdamW(model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay, fused=True)


def _autocast(settings: Optimisation, device: torch.device) -> Callable[[], contextlib.AbstractContextManager[Any]]:
    wanted = settings.precision == "bfloat16" or (
        settings.precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()
    )
    return (lambda: torch.autocast(device.type, torch.bfloat16)) if wanted else contextlib.nullcontext
