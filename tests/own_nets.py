"""Networks as a user would write them, found by import path in the working directory: one is slow, some fail."""

import os
import signal
import time

import torch
from torch import nn

from hydra_ray.errors import UserError
from hydra_ray.models import Network


class _Patient(nn.Module):
    """Passes its inputs on; while it is trained, after a moment: long enough to be killed in."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def forward(self, inputs):
        if self.training:
            time.sleep(self.seconds)
        return inputs


class _Diverges(nn.Module):
    """Answers with no numbers while it is trained."""

    def forward(self, inputs):
        return inputs * float("nan") if self.training else inputs


class _Moody(nn.Module):
    """Fails in training while the environment says so."""

    def forward(self, inputs):
        if self.training and "OWN_NETS_FAIL" in os.environ:
            raise RuntimeError("not today")
        return inputs


class _Raises(nn.Module):
    """Fails when it is trained, which only workers do."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def forward(self, inputs):
        if self.training:
            raise self.error
        return inputs


class _Dies(nn.Module):
    """Says something when it is trained, and kills its process."""

    def forward(self, inputs):
        if self.training:
            print("the last words of a network", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        return inputs


def telling_mlp(input_shape, num_outputs, *, width):
    return _mlp(input_shape, num_outputs, width, _Dies())


def patient_mlp(input_shape, num_outputs, *, width, seconds=0.02):
    return _mlp(input_shape, num_outputs, width, _Patient(seconds))


def failing_mlp(input_shape, num_outputs, *, width):
    return _mlp(input_shape, num_outputs, width, _Raises(ZeroDivisionError("no rows\nin this batch")))


def diverging_mlp(input_shape, num_outputs, *, width):
    return _mlp(input_shape, num_outputs, width, _Diverges())


def moody_mlp(input_shape, num_outputs, *, width):
    return _mlp(input_shape, num_outputs, width, _Moody())


def refusing_mlp(input_shape, num_outputs, *, width):
    return _mlp(
        input_shape, num_outputs, width, _Raises(UserError("ensemble.options.width=16: too narrow for this network"))
    )


def _mlp(input_shape, num_outputs, width, first):
    body = nn.Sequential(first, nn.Flatten(), nn.Linear(int(torch.tensor(input_shape).prod()), width), nn.ReLU())
    return Network(body, nn.Linear(width, num_outputs), width)
