"""The pixels of every view of images, to the bit: shards of finished runs hold them, and no change of code may."""

import hashlib

import numpy as np
import pytest

from hydra_ray.views import VIEWS, apply_view

PIXELS = [
    ("affine", {}, "105a0724f9d7d811"),
    ("affine", {"degrees": 90, "scale": 0, "shift": 0}, "1f21c4914fe207e6"),
    ("affine", {"padding": "reflection"}, "12935e1ad1c17f5a"),
    ("elastic", {}, "11687f554230f0ca"),
    ("elastic", {"alpha": 0.2, "grid": 7, "padding": "border"}, "bfe064131cb13653"),
    ("crop_flip", {}, "99e30b032551dfa1"),
    ("crop_flip", {"padding": "reflection", "pad": 0.3, "flip": 1}, "1bacd981b3191ed1"),
    ("cyclic_shift", {}, "6e70edcb18ab409f"),
    ("cyclic_shift", {"shift": 1}, "5c4ef44936566e9a"),
    ("gaussian_noise", {}, "be1a56b3edc57016"),
    ("gaussian_noise", {"sigma": 1}, "81972448409cac1e"),
    ("smooth_noise", {}, "fbbcfe18dac782db"),
    ("smooth_noise", {"grid": 3, "amount_min": 0}, "6fd8faeb83330d60"),
    ("mixup", {}, "d16cd44f8fd2dcdc"),
    ("mixup", {"block_rows": 8}, "927ceb1b2e54c6fa"),
    ("cutmix", {}, "73e4ad512419ed4e"),
    ("cutmix", {"block_rows": 8, "amount_max": 1}, "2039c15345f63922"),
    ("identity", {}, "ab27148c2ec7ecb2"),
]
"""View, options, the first digits of the pixels' SHA-256."""


@pytest.mark.parametrize(("name", "options", "expected"), PIXELS)
def test_pixels_are_as_they_were(name, options, expected):
    inputs = np.random.default_rng(0).integers(0, 256, (40, 13, 9, 3), dtype=np.uint8)
    made = apply_view(name, options, inputs, np.arange(100, 140), seed=5)
    assert hashlib.sha256(made.tobytes()).hexdigest()[:16] == expected


def test_every_view_of_images_is_here():
    of_images = {name for name, view in VIEWS.items() if view.takes != "features" and not view.needs_members}
    assert {name for name, _, _ in PIXELS} == of_images
