"""What tests of libraries' teachers share: loading them as a run does, and their answers as shards hold them."""

from types import SimpleNamespace

import numpy as np

from hydra_ray.config import TeachersConfig
from hydra_ray.teachers.asked import Loaded, called, load_library
from hydra_ray.teachers.outputs import as_outputs


def loaded(kind: str, *paths, classes=(), shape=(4,), trust: bool = False, options=None) -> Loaded:
    """Teachers of a kind; without class names for a regression."""
    config = TeachersConfig(kind=kind, files=[str(path) for path in paths], options=options or {}, trust=trust)
    data = SimpleNamespace(num_classes=len(classes), class_names=tuple(map(str, classes)), input_shape=shape)
    return load_library(config, data)


def answers(teachers: Loaded, batch) -> np.ndarray:
    """What they say of a batch, as they say it: [B, M, ...]."""
    return called(teachers.answers, batch)


def shard_outputs(teachers: Loaded, batch, members: int, outputs: int) -> np.ndarray:
    """The same as shards hold it: [B, M, C]."""
    return as_outputs(answers(teachers, batch), teachers.outputs, members, outputs, np.arange(len(batch)))


def softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    exp = np.exp(logits - logits.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


def rows(count: int = 120, features: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, features)).astype(np.float32)
