"""Sizes of images: what becomes of one is what torchvision makes of it, in data sets and for students alike."""

import io

import numpy as np
import pyarrow as pa
import pytest
from helpers.dataset_files import encoded, message, opened, pictures, write
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, Resize

from hydra_ray.data import ImageOptions, fitted_pixels
from hydra_ray.data.images import ImageError, proposed_size
from hydra_ray.errors import UserError

SHAPES = [(64, 64, 3), (100, 40, 3), (41, 97, 3), (33, 32), (7, 300, 3), (20, 21), (224, 500, 3)]


def by_torchvision(file: bytes, side: int) -> np.ndarray:
    image = Image.open(io.BytesIO(file)).convert("RGB")
    return np.asarray(Compose([Resize(side), CenterCrop(side)])(image))


@pytest.mark.parametrize("side", [32, 33, 224])
def test_rows_of_a_set_and_rows_of_a_student_are_torchvisions(tmp_path, side):
    files = [encoded(pictures(1, shape, seed)[0]) for seed, shape in enumerate(SHAPES * 3)]
    path = write(tmp_path / "rows.parquet", {"image": pa.array(files), "label": np.arange(len(files)) % 2})
    rows = opened(path, images=ImageOptions((side, side))).splits["train"].source.read(0, len(files))
    for row, file in enumerate(files):
        expected = by_torchvision(file, side)
        np.testing.assert_array_equal(rows.inputs[row], expected, err_msg=str(SHAPES[row % len(SHAPES)]))
        np.testing.assert_array_equal(fitted_pixels(file, row, (side, side, 3), "inputs"), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_height_and_width_are_covered(shape):
    file = encoded(pictures(1, shape)[0])
    for size in ((10, 30), (30, 10), (64, 64), (1, 1)):
        assert fitted_pixels(file, 0, (*size, 3), "inputs").shape == (*size, 3)


def test_an_image_of_the_size_is_as_it_was():
    image = pictures(1, (9, 7, 3))[0]
    np.testing.assert_array_equal(fitted_pixels(encoded(image), 0, (9, 7, 3), "inputs"), image)


def test_what_is_too_narrow_is_refused_before_it_takes_the_memory():
    with pytest.raises(ImageError, match=r"row 4 is an image of 1 x 60,000 pixels, too narrow for 224 x 224") as raised:
        fitted_pixels(encoded(np.zeros((60_000, 1), np.uint8)), 4, (224, 224, 1), "inputs")
    message(raised)


@pytest.mark.parametrize(
    ("sides", "expected"), [([300, 400, 500], 224), ([30, 30, 600], 30), ([64, 65, 66], 64), ([8, 9], 8)]
)
def test_the_size_that_is_proposed_suits_most(sides, expected):
    assert proposed_size([(side, 1000, 3) for side in sides]) == expected


def test_a_row_of_another_size_behind_the_first_rows_names_the_key(tmp_path, monkeypatch):
    from hydra_ray.data.tables import source as tables

    monkeypatch.setattr(tables, "ROWS_LOOKED_AT", 3)
    files = [encoded(each) for each in [*pictures(20), pictures(1, (9, 9))[0]]]
    path = write(tmp_path / "rows.parquet", {"image": pa.array(files), "label": np.arange(21) % 2})
    source = opened(path).splits["train"].source
    with pytest.raises(UserError, match=r"row 20 has 9 x 9 pixels .*data\.image_size=5 brings"):
        source.read(0, 21)
