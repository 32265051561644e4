"""Views of feature rows: the same numbers whatever the batch, the right moments, and the scale they are relative to."""

import pickle

import numpy as np
import pytest
import torch
from helpers.dataset_files import opened, write
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_ray.data.feature_stats import Features
from hydra_ray.views.apply import apply_view, augment
from hydra_ray.views.registry import VIEWS

FEATURE_VIEWS = [name for name, known in VIEWS.items() if known.takes != "images" and not known.needs_members]
RANDOM_VIEWS = [name for name in FEATURE_VIEWS if name != "identity"]
BLOCK_VIEWS = [name for name in FEATURE_VIEWS if VIEWS[name].mixes != "nothing"]
SCALES = np.array([1, 100, 0.01, 10, 1000], np.float32)


def rows_of(num_rows=24, size=5) -> np.ndarray:
    """Features of very different scales, the third constant where there are five."""
    rows = np.random.default_rng(0).normal(size=(num_rows, size)).astype(np.float32) * SCALES[:size] + SCALES[:size]
    rows[:, 2:3] = 7
    return rows


def scale_of(rows: np.ndarray) -> Features:
    parts = (rows.mean(0), rows.std(0), rows.min(0), rows.max(0))
    return Features(*(torch.from_numpy(part) for part in parts))


SCALE = scale_of(rows_of(500))


def view(name, inputs, row_id=None, *, seed=0, scale: Features | None = SCALE, **options) -> np.ndarray:
    row_id = np.arange(len(inputs)) if row_id is None else np.asarray(row_id)
    return apply_view(name, options, inputs, row_id, seed=seed, features=scale)


# ---------------------------------------------------------------- what holds for all


@pytest.mark.parametrize("name", FEATURE_VIEWS)
def test_feature_rows_stay_float32_and_finite_and_inputs_are_left_alone(name):
    inputs = rows_of()
    inputs.setflags(write=False)
    made = view(name, inputs)
    assert made.dtype == np.float32
    assert made.shape == (24, 5)
    assert np.isfinite(made).all()
    np.testing.assert_array_equal(inputs, rows_of())
    assert view(name, inputs[:0]).shape == (0, 5)


def test_identity_is_exact():
    np.testing.assert_array_equal(view("identity", rows_of()), rows_of())


@pytest.mark.parametrize("name", RANDOM_VIEWS)
def test_seed_and_row_each_change_the_numbers(name):
    base = view(name, rows_of())
    for changed in (view(name, rows_of(), seed=seed) for seed in (1, 2)):
        assert (base != changed).any(1).mean() > 0.9
    assert (base != view(name, rows_of(), np.arange(24) + 24)).any(1).mean() > 0.9
    np.testing.assert_array_equal(base, view(name, rows_of()))


@pytest.mark.parametrize("name", [name for name in FEATURE_VIEWS if name not in BLOCK_VIEWS])
@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_batch_split_and_order_do_not_matter(name, data):
    inputs, row_id = rows_of(), np.arange(100, 124)
    whole = view(name, inputs, row_id)
    order = np.array(data.draw(st.permutations(range(24))))
    for part in np.split(order, sorted(data.draw(st.lists(st.integers(0, 24), max_size=4)))):
        np.testing.assert_array_equal(view(name, inputs[part], row_id[part]), whole[part])


@pytest.mark.parametrize("name", BLOCK_VIEWS)
@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_mixing_needs_whole_blocks_only(name, data):
    inputs, row_id = rows_of(), np.arange(96, 120)
    whole = view(name, inputs, row_id, block_rows=8)
    for block in data.draw(st.permutations(range(3))):
        part = np.array(data.draw(st.permutations(range(8 * block, 8 * block + 8))))
        np.testing.assert_array_equal(view(name, inputs[part], row_id[part], block_rows=8), whole[part])


@pytest.mark.parametrize("name", RANDOM_VIEWS)
def test_work_in_pieces_and_the_other_entry_are_the_same(name, monkeypatch):
    whole = view(name, rows_of())
    same = augment(name, {}, torch.from_numpy(rows_of()), torch.arange(24), 0, features=SCALE)
    np.testing.assert_array_equal(same.numpy(), whole)
    monkeypatch.setattr("hydra_ray.views.batch._ELEMENTS_AT_ONCE", 35)
    np.testing.assert_array_equal(view(name, rows_of()), whole)


@pytest.mark.parametrize("name", ["gaussian_noise", "uniform_box", "outside_box"])
def test_a_scale_left_out_is_a_mistake_of_the_caller(name):
    with pytest.raises(ValueError, match="need the training rows' scale"):
        view(name, rows_of(), scale=None)


# ---------------------------------------------------------------- single views


def test_noise_is_relative_to_each_feature_not_to_the_batch():
    inputs = np.zeros((4000, 5), np.float32)
    noise = view("gaussian_noise", inputs, sigma=0.1)
    np.testing.assert_allclose(noise.std(0), 0.1 * SCALE.std.numpy(), rtol=0.05)
    assert (np.abs(noise.mean(0)) <= 0.01 * SCALE.std.numpy()).all()
    np.testing.assert_array_equal(view("gaussian_noise", inputs, sigma=0), inputs)


def test_mixup_mixes_with_another_row_of_the_block():
    inputs = rows_of(40, 2)
    made = view("mixup", inputs, amount_min=1, amount_max=1, block_rows=8)
    partners = [int(np.flatnonzero((inputs == row).all(1))[0]) for row in made]
    assert all(own != other for own, other in enumerate(partners))
    assert all(own // 8 == other // 8 for own, other in enumerate(partners))
    assert len(set(partners)) > 15


def test_resampled_features_come_each_from_another_row_of_the_block():
    inputs = np.arange(2000 * 3, dtype=np.float32).reshape(2000, 3)
    made = view("resample", inputs, block_rows=500)
    source = ((made - np.arange(3)) / 3).astype(int)
    np.testing.assert_array_equal(source * 3 + np.arange(3), made)
    own = np.arange(2000)[:, None]
    assert (source != own).all()
    assert (source // 500 == own // 500).all()
    np.testing.assert_allclose(made.mean(0), inputs.mean(0), rtol=0.03)
    ranks = source % 500
    assert abs(np.corrcoef(ranks.T)[0, 1]) < 0.07
    assert abs(np.corrcoef(ranks[:, 0], own[:, 0] % 500)[0, 1]) < 0.07


def test_columns_that_follow_each_other_do_not_after_resampling():
    x = np.random.default_rng(1).normal(size=2000).astype(np.float32)
    made = view("resample", np.stack([x, 2 * x], axis=1))
    assert abs(np.corrcoef(made.T)[0, 1]) < 0.07
    np.testing.assert_allclose(made.std(0), [x.std(), 2 * x.std()], rtol=0.05)


@pytest.mark.parametrize("margin", [0, 0.1, 1.0])
def test_a_box_is_filled_evenly_to_its_margins(margin):
    low, high = SCALE.low.numpy(), SCALE.high.numpy()
    made = view("uniform_box", rows_of(4000), margin=margin)
    varies = high > low
    place = (made[:, varies] - low[varies]) / (high - low)[varies]
    assert (place >= -margin - 1e-5).all()
    assert (place <= 1 + margin + 1e-5).all()
    np.testing.assert_allclose(np.quantile(place, [0.1, 0.5, 0.9], axis=0).T - 0.5, [spread(margin)] * 4, atol=0.03 * 3)
    np.testing.assert_array_equal(made[:, ~varies], np.full((4000, 1), 7))


def spread(margin: float) -> np.ndarray:
    return np.array([-0.4, 0, 0.4]) * (1 + 2 * margin)


@pytest.mark.parametrize(("size", "margin"), [(1, 1.0), (1, 0.001), (2, 0.05), (5, 0.5), (5, 1000)])
def test_every_row_outside_of_the_box_is_outside_of_it(size, margin):
    scale = scale_of(rows_of(500, size))
    made = view("outside_box", rows_of(4000, size), scale=scale, margin=margin)
    outside = (made < scale.low.numpy()) | (made > scale.high.numpy())
    assert outside.any(1).all()
    reach = (scale.high - scale.low).numpy() * margin * (1 + 1e-4) + 1e-3
    assert (made >= scale.low.numpy() - reach).all()
    assert (made <= scale.high.numpy() + reach).all()


def test_rows_outside_of_the_box_are_those_of_the_wider_box_without_it():
    """The same figures as by leaving rows of `uniform_box` out that are inside."""
    scale, margin = scale_of(rows_of(500, 2)), 0.2
    made = view("outside_box", rows_of(20_000, 2), scale=scale, margin=margin)
    wide = view("uniform_box", rows_of(60_000, 2), scale=scale, margin=margin, seed=5)
    low, high = scale.low.numpy(), scale.high.numpy()
    expected = wide[((wide < low) | (wide > high)).any(1)]
    assert 15_000 < len(expected) < 45_000
    for figure in (lambda x: ((x < low) | (x > high)).mean(0), lambda x: ((x - low) / (high - low)).std(0)):
        np.testing.assert_allclose(figure(made), figure(expected), rtol=0.03)
    both = [(((x < low) | (x > high)).all(1)).mean() for x in (made, expected)]
    assert both[0] == pytest.approx(both[1], abs=0.01)


# ---------------------------------------------------------------- the scale


def test_the_scale_is_that_of_the_training_rows_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("hydra_ray.data.feature_stats._ROWS_AT_ONCE", 17)
    rows = rows_of(200) + np.float32(1e4)
    columns = {f"x{place}": rows[:, place] for place in range(5)}
    path = write(tmp_path / "rows.parquet", {**columns, "label": np.arange(200) % 2})
    data = opened(path, ignore=())  # the third never changes
    train = data.splits["train"].read_all().inputs
    found = Features.of(data.splits["train"])
    np.testing.assert_allclose(found.mean, train.mean(0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(found.std, train.std(0, dtype=np.float64), rtol=1e-5)
    np.testing.assert_array_equal(found.low, train.min(0))
    np.testing.assert_array_equal(found.high, train.max(0))
    assert found.std[2] == 0
    assert len(train) == 140
    assert len(pickle.dumps(found)) < 3000
