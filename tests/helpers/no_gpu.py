"""A GPU that is not there: fake tensors that say they are on one, and modules whose tensors are.

An operation on tensors of two devices fails, and so does whatever would wait for the GPU: `.item()`, `.tolist()`, an
`if` on a tensor, a result whose shape follows from values.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily

CUDA = torch.device("cuda", 0)


class FakeGpu:
    """Takes tensors and modules to the GPU."""

    def __init__(self, mode: FakeTensorMode) -> None:
        self._mode = mode

    def tensor(self, value: Tensor) -> Tensor:
        """Of the same shape and type."""
        with unset_fake_temporarily():
            real = value.detach().clone()
        return self._mode.from_tensor(real).to(CUDA)

    def module(self, model: nn.Module) -> nn.Module:
        """Changed in place."""
        for part in model.modules():
            for name, parameter in part._parameters.items():
                if parameter is not None:
                    part._parameters[name] = nn.Parameter(self.tensor(parameter), parameter.requires_grad)
            for name, buffer in part._buffers.items():
                if buffer is not None:
                    part._buffers[name] = self.tensor(buffer)
        return model


@contextmanager
def fake_gpu() -> Iterator[FakeGpu]:
    """Real tensors are refused inside, except numbers in Python."""
    with FakeTensorMode(allow_non_fake_inputs=False) as mode:
        yield FakeGpu(mode)
