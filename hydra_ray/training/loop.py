"""What members and students are trained with: network, optimiser and schedule, checkpoints, any number of ranks.

A training step reads from top to bottom where it is taken, `member_step` (`member.py`), `stack_step` (`stacked.py`) and
`_PhaseFit._step` (`student.py`): begin, forward, loss, backward, clip, update. Here are its parts; plain PyTorch that
knows nothing of Ray, of members or of heads. W ranks and one rank with the same global batch take the same steps, up to
the order of sums, however the rows that count are spread over the ranks; dropout draws on each rank for itself.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from hydra_ray.config import Optimisation
from hydra_ray.losses import Correlated, Summed, share_of_mean
from hydra_ray.randomness import seed_generators, seed_of
from hydra_ray.shards import Sharing

if TYPE_CHECKING:
    from hydra_ray.training.sharding import Sharding

Tick = Callable[[int, int], None]
"""Told how many steps are done, and of how many."""


@dataclass(frozen=True)
class DistributedContext:
    """This process among those that train one network together.

    Attributes:
        rank: its number among them.
        num_ranks: how many they are.
        sharing: rows with those of its machine.
        group: theirs; None where they are all processes of the job.
    """

    rank: int = 0
    num_ranks: int = 1
    sharing: Sharing = field(default_factory=Sharing)
    group: dist.ProcessGroup | None = None

    def team(self, size: int) -> Team:
        """The team of `size` ranks that this one is in, each of which trains networks of its own.

        Every rank calls this, as all of them form all teams. Ranks that are left over are in none. What works in one
        process alone is a team by itself.
        """
        if size == 1 or self.num_ranks == 1:
            return Team(self.rank, self.num_ranks, DistributedContext())
        number, rank = divmod(self.rank, size)
        num_teams = self.num_ranks // size
        groups = [dist.new_group(list(range(first * size, (first + 1) * size))) for first in range(num_teams)]
        if number == num_teams:
            return Team(number, num_teams, None)
        own = cast("dist.ProcessGroup", groups[number])
        return Team(number, num_teams, DistributedContext(rank, size, group=own))

    def wrap(self, model: nn.Module) -> nn.Module:
        """`model`; where there are several ranks, with gradients averaged over them.

        BatchNorm sees the whole batch on GPUs. On CPUs there is no synchronised BatchNorm: each rank normalises by
        its own rows (9e-3 in the weights after 21 steps of a small CNN); `norm: group` has no such dependence.
        """
        if self.num_ranks == 1:
            return model
        if not next(model.parameters()).is_cuda:
            return DistributedDataParallel(model, process_group=self.group)
        synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(model, self.group)
        devices = [torch.cuda.current_device()]
        return DistributedDataParallel(synchronised, device_ids=devices, process_group=self.group)

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a tensor over ranks."""
        if self.num_ranks == 1:
            return value
        value = value.detach().clone()
        dist.all_reduce(value, group=self.group)
        return value / self.num_ranks

    def share_of_loss(self, terms: Sequence[Summed | Correlated], *, is_even: bool) -> Tensor:
        """What this rank minimises: the mean of the ranks' shares is the loss over all rows of the batch.

        Args:
            terms: of this rank's rows.
            is_even: whether every rank has as many rows of the batch.
        """
        add_up = partial(dist.all_reduce, group=self.group)
        return share_of_mean(terms, self.num_ranks, add_up, is_even=is_even)

    def wait(self) -> None:
        """Wait until all ranks are here."""
        if self.num_ranks > 1:
            dist.barrier(self.group)

    @property
    def is_first(self) -> bool:
        """Whether this rank writes files and reports."""
        return self.rank == 0


class Team(NamedTuple):
    """Ranks that train networks of their own, beside other teams."""

    number: int
    num_teams: int
    ranks: DistributedContext | None
    """This process among those of the team; None where it is in none."""


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
        device: torch.device | None = None,
    ) -> None:
        """At step 0.

        Args:
            model: it is moved to the device; with `strategy: fsdp` each rank keeps a part of it there, block by block.
            settings: optimiser, learning rate, precision, whether to compile, and what ranks keep.
            num_steps: of the whole training; the schedule ends there.
            seed: of dropout; each step and rank draws its own numbers, so that a resumed training draws the same.
            ranks: this process among its peers.
            tick: called after each step.
            device: to train on; None for where the model is.
        """
        self._tick = tick
        self._device = next(model.parameters()).device if device is None else device
        self._sharding = _sharding(settings, ranks, self._device)
        self._whole = model if self._sharding is None else copy.deepcopy(model)
        self.model = model
        self.settings = settings
        self.num_steps = num_steps
        self.num_done = 0
        self._seed = seed
        self._ranks = ranks
        if device is not None or self._sharding is not None:
            self.place(model)
        wrapped = ranks.wrap(model) if self._sharding is None else model
        self._wrapped = torch.compile(wrapped) if settings.compile else wrapped
        self._optimizer = _optimizer(model, settings)
        self._autocast = _autocast(settings, self._device)

    def place(self, module: nn.Module) -> None:
        """Put a network like the trained one where that is: on the device, or in parts on all ranks."""
        if self._sharding is None:
            module.to(self._device)
        else:
            self._sharding.shard(module)

    def fill(self, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        """Load whole tensors into a network that was placed."""
        if self._sharding is not None:
            own = module.state_dict()
            tensors = {name: self._sharding.part(value, own[name]) for name, value in tensors.items()}
        module.load_state_dict(tensors)

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
        """What a checkpoint holds: `num_done`, `model.<name>` and `optimizer.<number of the parameter>.<field>`.

        All ranks call this. Tensors that are sharded are whole on the first one; others have their own parts.
        """
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for index, state in self._optimizer.state_dict()["state"].items():
            tensors |= {
                f"optimizer.{index}.{name}": torch.as_tensor(value)
                for name, value in state.items()
                if value is not None
            }
        return {**self.gathered(tensors), "num_done": torch.tensor(self.num_done)}

    def gathered(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of a network that was placed, as `state` has them."""
        return dict(tensors) if self._sharding is None else self._sharding.gathered(tensors)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Resume from what `state` returned on the first rank."""
        self.num_done = int(tensors["num_done"])
        self.fill(self.model, _below(tensors, "model."))
        optimizer = self._optimizer.state_dict()
        parameters = list(self.model.parameters())
        for name, value in _below(tensors, "optimizer.").items():
            index, field = name.split(".", 1)
            part = value if self._sharding is None else self._sharding.part(value, parameters[int(index)])
            optimizer["state"].setdefault(int(index), {})[field] = part
        self._optimizer.load_state_dict(optimizer)

    def finished(self) -> nn.Module:
        """The trained network, whole on every rank, on the device."""
        if self._sharding is not None:
            self._whole.load_state_dict(self._sharding.gathered(self.model.state_dict(), everywhere=True))
            self._whole.to(self._device)
        return self._whole


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


def _sharding(settings: Optimisation, ranks: DistributedContext, device: torch.device) -> Sharding | None:
    """None where each rank has the whole network."""
    if settings.strategy == "ddp" or ranks.num_ranks == 1:
        return None
    from hydra_ray.training.sharding import Sharding

    return Sharding(ranks.group, device, is_first=ranks.is_first)


def _optimizer(model: nn.Module, settings: Optimisation) -> torch.optim.Optimizer:
    # fused: one pass over the parameters instead of a dozen small operations for each
    if settings.optimizer == "sgd":
        is_whole = all(type(parameter) is nn.Parameter for parameter in model.parameters())
        return torch.optim.SGD(
            model.parameters(),
            settings.learning_rate,
            momentum=0.9,
            nesterov=True,
            weight_decay=settings.weight_decay,
            fused=is_whole,  # torch's fused SGD knows no tensors in parts
        )
    return torch.optim.AdamW(model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay, fused=True)


def _autocast(settings: Optimisation, device: torch.device) -> Callable[[], contextlib.AbstractContextManager[Any]]:
    wanted = settings.precision == "bfloat16" or (
        settings.precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()
    )
    return (lambda: torch.autocast(device.type, torch.bfloat16)) if wanted else contextlib.nullcontext
