"""What a model costs: parameters, multiply-adds and latency.

It is: counts that do not depend on the machine, and one measurement that does.
It is not: memory, training cost, or the cost of reading data.

Shapes: B batch. `input_shape` is that of one row as the module takes it: for members, ensembles and students
the stored row, (H, W, ch) uint8 or (D,) float32; for a bare network or body (ch, H, W) or (D,) float32.
"""

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

WARM_UP = 3


def num_parameters(module: nn.Module) -> int:
    """Numbers in all parameters (not buffers), shared ones once; an ensemble has those of all members."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_macs(module: nn.Module, input_shape: tuple[int, ...], dtype: torch.dtype | None = None) -> int:
    """Multiply-adds of one row: half the floating-point operations of its matrix products and convolutions.

    Adds, activations and normalisations are not counted, as is usual in the field.

    Args:
        module: evaluated without gradients; its mode is put back.
        input_shape: of one row, see above.
        dtype: of the input; None is uint8 for three dimensions, else float32.
    """
    from torch.utils.flop_counter import FlopCounterMode  # brings triton, a second for every process

    inputs = _inputs(module, input_shape, 1, dtype)
    with evaluating(module), _plain_attention(), torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(inputs)
    return counter.get_total_flops() // 2


def latency_ms(
    module: nn.Module,
    input_shape: tuple[int, ...],
    batch_size: int,
    repeats: int = 20,
    dtype: torch.dtype | None = None,
) -> float:
    """Median milliseconds of one forward pass of `batch_size` rows, after three that do not count.

    Inputs are on the module's device already, and its results are waited for. Threads are as torch is set.
    """
    inputs = _inputs(module, input_shape, batch_size, dtype)
    with evaluating(module), torch.no_grad():
        seconds = [_seconds(module, inputs) for _ in range(WARM_UP + repeats)]
    return 1e3 * statistics.median(seconds[WARM_UP:])


def _seconds(module: nn.Module, inputs: Tensor) -> float:
    _wait(inputs.device)
    start = time.perf_counter()
    module(inputs)
    _wait(inputs.device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    """Accelerators run behind: without waiting, only the launch would be measured."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _inputs(module: nn.Module, input_shape: tuple[int, ...], batch_size: int, dtype: torch.dtype | None) -> Tensor:
    first = next(chain(module.parameters(), module.buffers()), None)
    device = torch.device("cpu") if first is None else first.device
    chosen = dtype or (torch.uint8 if len(input_shape) == 3 else torch.float32)
    return torch.zeros(batch_size, *input_shape, dtype=chosen, device=device)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """A module in evaluation mode; after it, every part is in the mode that it was in."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Attention as matrix products: the counter does not see into the fused kernels."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
