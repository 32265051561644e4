"""Small students of both tasks, distilled in this process in a second or two."""

from functools import cache

import numpy as np

import hydra_ray


def digits():
    """Images uint8 [N, 8, 8, 1], logits [N, 4, 10] of four linear members, and labels."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    found = load_digits()
    pixels = (found.images * 16).clip(0, 255).astype(np.uint8)[..., None]
    flat = found.data / 16
    rng = np.random.default_rng(0)
    logits = []
    for _ in range(4):
        rows = rng.choice(len(flat), 300)
        member = LogisticRegression(max_iter=60, C=0.3).fit(flat[rows], found.target[rows])
        logits.append(member.decision_function(flat))
    return pixels, np.stack(logits, axis=1).astype(np.float32), found.target


def plane():
    """Features float32 [N, 3], means and variances [N, 5, 2] of five members, and targets."""
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(800, 3)).astype(np.float32)
    weights = np.array([1.0, -2.0, 0.5]) + 0.3 * rng.normal(size=(5, 3))
    means = rows @ weights.T
    variances = np.full_like(means, 0.25)
    return rows, np.stack([means, variances], axis=-1), rows @ np.array([1.0, -2.0, 0.5]) + 0.5 * rng.normal(size=800)


@cache
def image_student() -> "hydra_ray.Student":
    """Of the digits."""
    pixels, logits, labels = digits()
    settings = {"epochs": 8, "mean_phase_epochs": 2, "batch_size": 64, "learning_rate": 3e-3}
    names = [f"digit {number}" for number in range(10)]
    return hydra_ray.distill(pixels, logits, labels=labels, classes=names, validation_fraction=0.4, **settings)


@cache
def table_student() -> "hydra_ray.Student":
    """Of the plane, whose features have names."""
    rows, outputs, targets = plane()
    settings = {"epochs": 10, "batch_size": 64, "learning_rate": 3e-3, "features": ["age", "height", "weight"]}
    return hydra_ray.distill(rows, outputs, labels=targets, outputs="mean_variance", **settings)
