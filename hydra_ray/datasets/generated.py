"""Toy data that are generated, the same rows on every machine: what the method does can be seen on a plane or a line.

Random numbers come from `splits.splitmix64`, because no stream of numpy is promised to stay the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from hydra_ray.datasets.rows import Floats, Ints
from hydra_ray.datasets.splits import splitmix64

_SEED = 100
SPIRAL_ROWS, WAVE_ROWS = 3000, 1000
_TURNS = 6 * np.pi
_NOISE = 0.1
_GAP = (-0.5, 1.5)


def spirals() -> tuple[Floats, Ints, tuple[str, ...], tuple[str, ...]]:
    """Three spiral arms, a class each: x float32 [N, 2], classes int64 [N], their names, names of the features.

    The artificial data of EnD2 (Malinin et al. 2020, section 4; papers.md 2.4): for class k and n = 6 pi sqrt(U),
    x = -cos(n + 2 pi k / 3) n^2 + 0.1 n^1.5 e1, y = sin(n + 2 pi k / 3) n^2 + 0.1 n^1.5 e2, with e standard normal;
    here divided by (6 pi)^2, so that the arms end on the unit circle.
    """
    classes = np.arange(SPIRAL_ROWS, dtype=np.int64) % 3
    n = _TURNS * np.sqrt(_uniform(0, SPIRAL_ROWS))
    angle = n + 2 * np.pi * classes / 3
    arm = np.stack([-np.cos(angle), np.sin(angle)], axis=1) * (n**2)[:, None]
    noise = np.stack([_normal(1, SPIRAL_ROWS), _normal(3, SPIRAL_ROWS)], axis=1)
    rows = (arm + _NOISE * (n**1.5)[:, None] * noise) / _TURNS**2
    return rows.astype(np.float32), classes, ("arm 1", "arm 2", "arm 3"), ("x", "y")


def wave() -> tuple[Floats, Floats, None, tuple[str, ...]]:
    """A wave with noise that grows to the right and a gap in x: x float32 [N, 1], targets float32 [N].

    y = sin(2 x) + 0.3 x + e, x uniform in [-3, 4] without the gap (-0.5, 1.5), e normal with standard deviation
    0.05 + 0.08 (x + 3): in the gap and beyond the ends only knowledge is missing, on the right the data are noisy.
    """
    low, high = -3.0, 4.0
    place = low + (high - low - (_GAP[1] - _GAP[0])) * _uniform(5, WAVE_ROWS)
    x = np.where(place < _GAP[0], place, place + (_GAP[1] - _GAP[0]))
    y = np.sin(2 * x) + 0.3 * x + _normal(6, WAVE_ROWS) * (0.05 + 0.08 * (x + 3))
    return x[:, None].astype(np.float32), y.astype(np.float32), None, ("x",)


def _uniform(stream: int, count: int) -> npt.NDArray[np.float64]:
    """In (0, 1), multiples of 2^-53."""
    state = splitmix64(np.array([_SEED], np.uint64), stream)
    bits = splitmix64(state, np.arange(count, dtype=np.int64))
    return ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def _normal(stream: int, count: int) -> npt.NDArray[np.float64]:
    """Standard normal (Box-Muller), from streams `stream` and `stream + 1`."""
    radius = np.sqrt(-2 * np.log(_uniform(stream, count)))
    return radius * np.cos(2 * np.pi * _uniform(stream + 1, count))


GENERATED: Mapping[str, Callable[[], tuple[Floats, Ints | Floats, tuple[str, ...] | None, tuple[str, ...]]]] = {
    "spirals": spirals,
    "wave": wave,
}
"""Name of each set -> what makes it."""
