"""Views: the same pixels whatever the batch, sane defaults, and the one-line errors."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import DATA, NEEDS_DATA

from hydra_ray.errors import UserError
from hydra_ray.views.apply import apply_view, augment
from hydra_ray.views.registry import VIEWS, check_view, view_block_rows
from hydra_ray.views.resampling import sample, shifted, smooth_field

IMAGE_SHAPES = [(8, 8, 1), (28, 28, 1), (12, 9, 3), (1, 1, 1)]
IMAGE_VIEWS = [name for name, known in VIEWS.items() if known.takes != "features"]
RANDOM_VIEWS = [name for name in IMAGE_VIEWS if name != "identity" and not VIEWS[name].needs_members]


def images(num_rows=24, shape=(12, 10, 3), seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num_rows, *shape), dtype=np.uint8)


def view(name, inputs, row_id=None, *, seed=0, **options) -> np.ndarray:
    row_id = np.arange(len(inputs)) if row_id is None else np.asarray(row_id)
    return apply_view(name, options, inputs, row_id, seed=seed)


def message(raised) -> str:
    text = str(raised.value)
    assert "\n" not in text
    return text


# ---------------------------------------------------------------- what holds for all views


@pytest.mark.parametrize("name", IMAGE_VIEWS)
@pytest.mark.parametrize("shape", IMAGE_SHAPES)
def test_shape_and_dtype_stay_and_inputs_are_left_alone(name, shape):
    inputs = images(6, shape)
    before = inputs.copy()
    inputs.setflags(write=False)
    made = view(name, inputs)
    assert made.dtype == np.uint8
    assert made.shape == inputs.shape
    np.testing.assert_array_equal(inputs, before)


@pytest.mark.parametrize("name", IMAGE_VIEWS)
def test_no_rows_are_fine(name):
    assert view(name, images(0)).shape == (0, 12, 10, 3)


def test_identity_is_exact():
    np.testing.assert_array_equal(view("identity", images()), images())


@pytest.mark.parametrize("name", RANDOM_VIEWS)
def test_seed_and_row_each_change_the_pixels(name):
    inputs = np.repeat(images(1), 12, axis=0) if not name.endswith("mix") and name != "mixup" else images(12)
    base = view(name, inputs)
    assert (base != view(name, inputs, seed=1)).any()
    assert (base != view(name, inputs, seed=2)).any()
    assert (base != view(name, inputs, np.arange(12) + 12)).any()
    assert len(np.unique(base, axis=0)) > 9
    np.testing.assert_array_equal(base, view(name, inputs))


@pytest.mark.parametrize("name", [name for name in IMAGE_VIEWS if VIEWS[name].mixes == "nothing"])
@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_batch_split_and_order_do_not_matter(name, data):
    inputs, row_id = images(24, (9, 7, 2)), np.arange(100, 124)
    whole = view(name, inputs, row_id)
    order = np.array(data.draw(st.permutations(range(24))))
    cuts = sorted(data.draw(st.lists(st.integers(0, 24), max_size=4)))
    for part in np.split(order, cuts):
        np.testing.assert_array_equal(view(name, inputs[part], row_id[part]), whole[part])


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_mixing_needs_whole_blocks_only(name, data):
    inputs, row_id = images(24, (9, 7, 2)), np.arange(96, 120)
    whole = view(name, inputs, row_id, block_rows=8)
    for block in data.draw(st.permutations(range(3))):
        part = np.array(data.draw(st.permutations(range(8 * block, 8 * block + 8))))
        np.testing.assert_array_equal(view(name, inputs[part], row_id[part], block_rows=8), whole[part])


@pytest.mark.parametrize("name", RANDOM_VIEWS)
def test_work_in_pieces_is_the_same(name, monkeypatch):
    whole = view(name, images())
    monkeypatch.setattr("hydra_ray.views.batch._ELEMENTS_AT_ONCE", 5 * 360)
    np.testing.assert_array_equal(view(name, images()), whole)


@pytest.mark.parametrize("name", RANDOM_VIEWS)
def test_number_of_threads_does_not_matter(name):
    inputs = images(40, (28, 28, 1))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = view(name, inputs)
        torch.set_num_threads(2)
        np.testing.assert_array_equal(view(name, inputs), one)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("name", IMAGE_VIEWS)
def test_augment_is_the_same_code(name):
    inputs, keys = torch.from_numpy(images()), torch.arange(24)
    np.testing.assert_array_equal(augment(name, {}, inputs, keys, 0).numpy(), view(name, images()))


def test_augment_checks_its_batch():
    with pytest.raises(ValueError, match="float64"):
        augment("identity", {}, torch.zeros(2, 3, dtype=torch.float64), torch.arange(2), 0)
    with pytest.raises(ValueError, match="keys are int64"):
        augment("identity", {}, torch.zeros(2, 3), torch.arange(3), 0)


# ---------------------------------------------------------------- single views

NO_STRENGTH = {
    "affine": {"degrees": 0, "scale": 0, "shift": 0},
    "elastic": {"alpha": 0},
    "crop_flip": {"pad": 0, "flip": 0},
    "gaussian_noise": {"sigma": 0},
    "smooth_noise": {"amount_min": 0, "amount_max": 0},
    "mixup": {"amount_min": 0, "amount_max": 0},
    "cutmix": {"amount_min": 0, "amount_max": 0},
}


@pytest.mark.parametrize("name", NO_STRENGTH)
@pytest.mark.parametrize("shape", IMAGE_SHAPES)
def test_without_strength_every_view_is_the_identity(name, shape):
    inputs = images(6, shape)
    np.testing.assert_array_equal(view(name, inputs, **NO_STRENGTH[name]), inputs)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_sampling_agrees_with_torch(padding):
    torch.manual_seed(0)
    rows = torch.from_numpy(images(3, (7, 9, 2)))
    x, y = torch.rand(3, 7, 9) * 20 - 6, torch.rand(3, 7, 9) * 16 - 5
    grid = torch.stack([x / 4 - 1, y / 3 - 1], dim=-1)
    channels_first = rows.permute(0, 3, 1, 2).float()
    expected = torch.nn.functional.grid_sample(
        channels_first, grid, mode="bilinear", padding_mode=padding, align_corners=True
    )
    torch.testing.assert_close(sample(rows, x, y, padding).permute(0, 3, 1, 2), expected, atol=2e-3, rtol=0)


def test_affine_turns_zooms_and_shifts_as_far_as_asked():
    bar = np.zeros((200, 41, 41, 1), np.uint8)
    bar[:, 19:22, 5:36] = 255
    turned = view("affine", bar, degrees=30, scale=0, shift=0)[..., 0].astype(float)
    row, column = np.mgrid[-20:21, -20:21]
    angles = [np.degrees(np.arctan2(*_axis(image, row, column))) for image in turned]
    assert 27 < np.abs(angles).max() < 31
    assert abs(np.mean(angles)) < 5
    dot = np.zeros((200, 41, 41, 1), np.uint8)
    dot[:, 20, 20] = 255
    moved = view("affine", dot, degrees=0, scale=0, shift=0.25)[..., 0].astype(float)
    centres = (moved * column).sum((1, 2)) / moved.sum((1, 2))
    assert 9.5 < np.abs(centres).max() <= 10.3
    zoomed = view("affine", bar, degrees=0, scale=0.3, shift=0)[..., 0].astype(float)
    lengths = zoomed[:, 20].sum(1) / 255 / 31
    assert 0.69 < lengths.min() < 0.75
    assert 1.2 < lengths.max() < 1.32


def _axis(image, row, column) -> tuple[float, float]:
    """Direction (down, right) of the longest axis of the bright pixels."""
    moments = np.array([[(image * row * row).sum(), (image * row * column).sum()], [0, 0]])
    moments[1] = moments[0, 1], (image * column * column).sum()
    down, right = np.linalg.eigh(moments)[1][:, -1]
    return (down, right) if right > 0 else (-down, -right)


def test_crop_flip_only_moves_and_mirrors():
    inputs = images(40, (8, 8, 1))
    made = view("crop_flip", inputs, pad=0.25, flip=0.5)
    found = 0
    for old, new in zip(inputs, made, strict=True):
        padded = [np.pad(each, ((2, 2), (2, 2), (0, 0))) for each in (old, old[:, ::-1])]
        crops = [each[y : y + 8, x : x + 8] for each in padded for y in range(5) for x in range(5)]
        found += any((new == crop).all() for crop in crops)
    assert found == 40


def test_flips_happen_as_often_as_asked():
    inputs = images(1000, (1, 2, 1))
    inputs[:] = np.array([0, 255], np.uint8)[None, None, :, None]
    made = view("crop_flip", inputs, pad=0, flip=0.2)
    assert (made[:, 0, 0, 0] == 255).mean() == pytest.approx(0.2, abs=0.05)


def test_shifts_mirror_beyond_the_rim():
    row = torch.arange(5, dtype=torch.uint8).reshape(1, 1, 5, 1)
    two, zero, no = torch.tensor([2]), torch.tensor([0]), torch.tensor([False])
    assert shifted(row, two, zero, no, "reflection").flatten().tolist() == [2, 1, 0, 1, 2]
    assert shifted(row, two, zero, no, "border").flatten().tolist() == [0, 0, 0, 1, 2]
    assert shifted(row, two, zero, ~no, "zeros").flatten().tolist() == [0, 0, 4, 3, 2]


def test_noise_has_the_strength_asked_for():
    grey = np.full((50, 28, 28, 1), 128, np.uint8)
    noise = view("gaussian_noise", grey, sigma=0.1).astype(float) - 128
    assert noise.std() == pytest.approx(25.5, rel=0.03)
    assert abs(noise.mean()) < 0.5


def test_smooth_fields_go_through_their_knots():
    knots = torch.rand(2, 4, 4, 1)
    field = smooth_field(knots, 10, 13)
    torch.testing.assert_close(field[:, ::3, ::4], knots)
    torch.testing.assert_close(smooth_field(torch.ones(1, 3, 3, 1), 8, 8), torch.ones(1, 8, 8, 1))


def test_smooth_noise_is_smooth_and_covers_the_range():
    black = np.zeros((200, 28, 28, 1), np.uint8)
    noise = view("smooth_noise", black, amount_min=1).astype(float)
    assert np.abs(np.diff(noise, axis=1)).mean() < 0.5 * noise.std()
    assert noise.mean() == pytest.approx(127, abs=5)
    assert noise.std() > 50


def test_a_row_alone_in_its_block_stays():
    inputs = images(3)
    made = view("mixup", inputs, [0, 1, 9], block_rows=8)
    np.testing.assert_array_equal(made[2], inputs[2])
    assert (made[:2] != inputs[:2]).any()


def test_cutmix_takes_a_rectangle_of_the_share_asked_for():
    inputs = np.zeros((2, 40, 40, 1), np.uint8)
    inputs[1] = 200
    shares = [
        (view("cutmix", inputs, seed=number, amount_min=0.25, amount_max=0.25) == 200).mean((1, 2, 3))
        for number in range(20)
    ]
    np.testing.assert_allclose(shares, [[0.25, 0.75]] * 20)


# ---------------------------------------------------------------- options


def test_block_rows_are_known_to_the_planner():
    assert view_block_rows("affine", {}) == 1
    assert view_block_rows("mixup", {}) == 500
    assert view_block_rows("cutmix", {"block_rows": 8}) == 8


@pytest.mark.parametrize("name", IMAGE_VIEWS)
def test_defaults_pass_the_check(name):
    check_view(name, {}, (28, 28, 1))


@pytest.mark.parametrize(
    ("name", "options", "shape", "expected"),
    [
        ("afine", {}, (8, 8, 1), "view=afine: unknown view; nearest: affine, or package.module:function"),
        ("affine", {"degree": 3}, (8, 8, 1), "options.degree=3: unknown key; nearest: options.degrees"),
        ("affine", {"degrees": 400}, (8, 8, 1), "options.degrees=400: must be less than or equal to 180"),
        ("affine", {"degrees": True}, (8, 8, 1), "degrees=true: must be a valid number"),
        ("affine", {"shift": float("nan")}, (8, 8, 1), "shift=NaN: must be"),
        ("affine", {"scale": "big"}, (8, 8, 1), 'scale="big": must be a valid number'),
        ("affine", {"padding": "reflect"}, (8, 8, 1), "padding=\"reflect\": must be 'zeros', 'border' or 'reflection'"),
        ("affine", {"padding": [1]}, (8, 8, 1), "padding=[1]"),
        ("elastic", {"grid": 2.5}, (8, 8, 1), "grid=2.5: must be a valid integer"),
        ("mixup", {"amount_min": 0.8}, (8, 8, 1), "amount_min=0.8 is above amount_max=0.5; swap them"),
        ("identity", {"x": 1}, (8, 8, 1), "options.x=1: unknown key; it has none"),
        ("elastic", {}, (30,), "use one of identity, gaussian_noise, mixup, resample, "),
        ("uniform_box", {}, (8, 8, 1), "view uniform_box needs feature rows, but rows have shape (8, 8, 1)"),
        ("outside_box", {"margin": 0}, (3,), "margin=0: must be greater than or equal to 0.001"),
        ("cutmix", {}, (30,), "needs images"),
    ],
)
def test_wrong_views_and_options_are_named(name, options, shape, expected):
    with pytest.raises(UserError) as raised:
        check_view(name, options, shape)
    assert expected in message(raised)
    with pytest.raises(UserError):
        apply_view(name, options, np.zeros((2, *shape), np.uint8), np.arange(2), seed=0)


# ---------------------------------------------------------------- real data


@NEEDS_DATA
def test_defaults_are_mild_on_real_digits():
    """A mildly changed digit is nearer to itself than to most other digits."""
    import pyarrow.parquet as pq
    from PIL import Image

    cells = pq.ParquetFile(DATA / "mnist/test-00000-of-00001.parquet").read_row_group(0, ["image.bytes"])
    rows = cells.column("image")[:150].to_pylist()
    inputs = np.stack([np.asarray(Image.open(io.BytesIO(each["bytes"]))) for each in rows])[..., None]
    flat = inputs.reshape(150, -1).astype(float)
    for name in ("affine", "elastic", "gaussian_noise"):
        made = view(name, inputs).reshape(150, -1).astype(float)
        distances = ((made[:, None] - flat[None]) ** 2).sum(-1)
        own_rank = (distances < np.diag(distances)[:, None]).sum(1)
        assert (own_rank < 75).mean() > 0.9
        assert (made != flat).any(1).all()
