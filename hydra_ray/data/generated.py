"""Toy data that are generated, the same rows on every machine: what the method does can be seen on a plane or a line.

Random numbers come from `randomness.splitmix64`, because no stream of numpy is promised to stay the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from hydra_ray.data.rows import Floats, Ints
from hydra_ray.randomness import seed_of, splitmix64

_SEED = 0  # the toy sets are the same in every run, whatever its seed
SPIRAL_ROWS = 3000
WAVE_ROWS = 400
_TURNS = 6 * np.pi
_NOISE = 0.1
_WAVE_ENDS = (-4.5, 3.0)
VIEW_ROWS = 4000
_VIEW_CLASSES = 10
_SHARE_SINGLE = 0.3
_SHARE_OTHER = 0.3
_OTHER_STRENGTH = 0.5
_VIEW_NOISE = 0.07
MIXTURE_ROWS = 4000
_MIXTURE_CLASSES = 10
_MIXTURE_INPUTS = 20
_MIXTURE_DISTANCE = 5.0
_GAP = (-2.3, 1.0)


def spirals() -> tuple[Floats, Ints, tuple[str, ...], tuple[str, ...]]:
    """Three spiral arms, a class each: x float32 [N, 2], classes int64 [N], their names, names of the features.

    The artificial data of EnD2 (Malinin et al. 2020, as in the authors' code): for class k and n = 6 pi sqrt(U),
    x = -cos(n + 2 pi k / 3) n^2 + 0.1 n^1.5 e1, y = sin(n + 2 pi k / 3) n^2 + 0.1 n^1.5 e2, with e standard normal;
    here divided by (6 pi)^2, so that the arms end on the unit circle.
    """
    classes = np.arange(SPIRAL_ROWS, dtype=np.int64) % 3
    n = _TURNS * np.sqrt(_uniform("spirals", 0, SPIRAL_ROWS))
    angle = n + 2 * np.pi * classes / 3
    arm = np.stack([-np.cos(angle), np.sin(angle)], axis=1) * (n**2)[:, None]
    noise = np.stack([_normal("spirals", 1, SPIRAL_ROWS), _normal("spirals", 3, SPIRAL_ROWS)], axis=1)
    rows = (arm + _NOISE * (n**1.5)[:, None] * noise) / _TURNS**2
    return rows.astype(np.float32), classes, ("arm 1", "arm 2", "arm 3"), ("x", "y")


def wave() -> tuple[Floats, Floats, None, tuple[str, ...]]:
    """A wave with a gap, and noise that grows to the right of it: x float32 [N, 1], targets float32 [N].

    y = sin(2.5 x) + e, x uniform in [-4.5, 3] without the gap (-2.3, 1), into which the wave runs steeply from both
    sides; e normal with standard deviation 0.04 + 0.2 max(0, x - 1). In the gap and beyond the ends only knowledge is
    missing, on the right the data are noisy.
    """
    (low, high) = _WAVE_ENDS
    (begin, end) = _GAP
    place = low + (high - low - (end - begin)) * _uniform("wave", 0, WAVE_ROWS)
    x = np.where(place < begin, place, place + (end - begin))
    y = np.sin(2.5 * x) + _normal("wave", 1, WAVE_ROWS) * (0.04 + 0.2 * np.maximum(0, x - 1))
    return x[:, None].astype(np.float32), y.astype(np.float32), None, ("x",)


def multi_view() -> tuple[Floats, Ints, tuple[str, ...], tuple[str, ...]]:
    """Classes that can be told by either of two views: x float32 [N, D], classes int64 [N], their names, of features.

    After the multi-view data of Allen-Zhu & Li (2023, arXiv 2012.09816, definition 3.1), with patches of one input:
    each class has two views, and each view an input in which it shows. Most rows show both views of their class, of
    strength 0.8 to 1.2; a share of `_SHARE_SINGLE` shows only one of them. A view of another class is there in a share
    of `_SHARE_OTHER` of the rows, with strength up to `_OTHER_STRENGTH`, and all inputs have normal noise.
    """
    name = "multi_view"
    shape = (VIEW_ROWS, 2 * _VIEW_CLASSES)

    def uniform(number: int) -> npt.NDArray[np.float64]:
        return _uniform(name, number, shape[0] * shape[1]).reshape(shape)

    classes = np.arange(VIEW_ROWS, dtype=np.int64) % _VIEW_CLASSES
    view_of_class = np.arange(shape[1]) - 2 * classes[:, None]  # 0 and 1 are the row's own
    only = np.where(_uniform(name, 0, VIEW_ROWS) < 0.5, 0, 1)
    is_single = _uniform(name, 1, VIEW_ROWS) < _SHARE_SINGLE
    own = (0.8 + 0.4 * uniform(2)) * ((view_of_class == only[:, None]) | ~is_single[:, None])
    others = (uniform(3) < _SHARE_OTHER) * _OTHER_STRENGTH * uniform(4)
    shown = np.where((view_of_class == 0) | (view_of_class == 1), own, others)
    noise = _normal(name, 5, shown.size).reshape(shape)
    return _named(shown + _VIEW_NOISE * noise, classes, _VIEW_CLASSES)


def gaussian_mixture() -> tuple[Floats, Ints, tuple[str, ...], tuple[str, ...]]:
    """A normal distribution a class: x float32 [N, D], classes int64 [N], their names, names of the features.

    Variance 1 around centres whose coordinates are normal, of expected distance `_MIXTURE_DISTANCE` to each other: one
    view a class, for which an ensemble has nothing to collect (Allen-Zhu & Li 2023).
    """
    name = "gaussian_mixture"
    classes = np.arange(MIXTURE_ROWS, dtype=np.int64) % _MIXTURE_CLASSES
    centres = _normal(name, 0, _MIXTURE_CLASSES * _MIXTURE_INPUTS).reshape(_MIXTURE_CLASSES, _MIXTURE_INPUTS)
    centres = centres * _MIXTURE_DISTANCE / np.sqrt(2 * _MIXTURE_INPUTS)
    noise = _normal(name, 2, MIXTURE_ROWS * _MIXTURE_INPUTS).reshape(MIXTURE_ROWS, _MIXTURE_INPUTS)
    return _named(centres[classes] + noise, classes, _MIXTURE_CLASSES)


def _named(
    rows: npt.NDArray[np.float64], classes: Ints, num_classes: int
) -> tuple[Floats, Ints, tuple[str, ...], tuple[str, ...]]:
    """Rows and classes with names by number."""
    class_names = tuple(f"class {number}" for number in range(num_classes))
    return rows.astype(np.float32), classes, class_names, tuple(f"x{number}" for number in range(rows.shape[1]))


def _uniform(name: str, number: int, count: int) -> npt.NDArray[np.float64]:
    """In (0, 1), multiples of 2^-53."""
    bits = splitmix64(seed_of(_SEED, "toy data", name, number), np.arange(count, dtype=np.int64))
    return ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def _normal(name: str, number: int, count: int) -> npt.NDArray[np.float64]:
    """Standard normal (Box-Muller), from streams `number` and `number + 1`."""
    radius = np.sqrt(-2 * np.log(_uniform(name, number, count)))
    return radius * np.cos(2 * np.pi * _uniform(name, number + 1, count))


GENERATED: Mapping[str, Callable[[], tuple[Floats, Ints | Floats, tuple[str, ...] | None, tuple[str, ...]]]] = {
    "spirals": spirals,
    "wave": wave,
    "multi_view": multi_view,
    "gaussian_mixture": gaussian_mixture,
}
"""Name of each set -> what makes it."""
