"""Models of scikit-learn in skops files, which hold no code; types that skops does not trust are named.

skops does not trust trees, because scikit-learn follows the indices in a tree's nodes unchecked. They are checked here,
so that forests need no trust.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from hydra_ray.errors import UserError

_TREE = "sklearn.tree._tree.Tree"
_KNOWN = {
    _TREE,
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.utils._bunch.Bunch",
}
"""Types that hold numbers, and trees."""


def read_skops(path: str, *, trust: bool) -> Any:
    """The model in a skops file.

    Args:
        path: of the file.
        trust: whether it may hold types that are not known, whose code then runs.

    Raises:
        UserError: it holds such types and is not trusted, or a tree that is none.
    """
    import skops.io

    untrusted = skops.io.get_untrusted_types(file=path)
    strange = [name for name in untrusted if name not in _KNOWN]
    if strange and not trust:
        raise UserError(
            f"{path} holds {', '.join(strange)}, which may run code; say ensemble.teachers.trust=true if you trust "
            "whoever wrote it"
        )
    model = skops.io.load(path, trusted=untrusted)
    if _TREE in untrusted and not all(map(_is_sound, _with_trees(model))):
        raise UserError(f"{path} holds a tree whose nodes are no tree; it is damaged")
    return model


def _with_trees(model: Any) -> Iterator[Any]:
    """Everything in a model that has a tree."""
    waiting = [model]
    seen = set()
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        inside = getattr(each, "__dict__", {})
        if "tree_" in inside:
            yield each
        waiting += inside.values()
        if isinstance(each, dict):
            waiting += each.values()
        elif isinstance(each, (list, tuple, set)) or (isinstance(each, np.ndarray) and each.dtype == object):
            waiting += list(np.ravel(each)) if isinstance(each, np.ndarray) else each


def _is_sound(estimator: Any) -> bool:
    """Whether every node leads to later nodes and looks at a feature that there is."""
    tree = estimator.tree_
    count = tree.node_count
    if not (0 < count <= tree.capacity and tree.n_features == estimator.n_features_in_):
        return False
    inner = np.flatnonzero(tree.children_left != -1)
    ends = [side[inner] for side in (tree.children_left, tree.children_right)]
    follow = all(((end > inner) & (end < count)).all() for end in ends)
    features = tree.feature[inner]
    return follow and bool(((features >= 0) & (features < tree.n_features)).all())
