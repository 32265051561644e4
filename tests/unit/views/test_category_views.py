"""Views of tables with categories: codes stay codes, noise leaves them, `swap` and `munge` take them from others."""

import numpy as np
import pytest
import torch
from helpers.dataset_files import opened

from hydra_ray.data.feature_stats import Features
from hydra_ray.errors import UserError
from hydra_ray.models import ModelSpec, build_member
from hydra_ray.views import apply_with_members
from hydra_ray.views.apply import apply_view
from hydra_ray.views.registry import VIEWS, check_view

CATEGORIES = (0, 6, 0, 3, 0)
CODES = [1, 3]
NUMBERS = [0, 2, 4]
TABLE_VIEWS = [name for name, known in VIEWS.items() if known.takes != "images" and not known.needs_members]
OF_NUMBERS = [name for name in TABLE_VIEWS if not VIEWS[name].changes_codes]


def rows_of(num_rows=1000) -> np.ndarray:
    """Columns 0 and 1 belong together, as do 2 and 4."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(num_rows, 5))
    rows[:, 1] = np.floor(np.clip(rows[:, 0] + 3, 0, 5.99))
    rows[:, 3] = generator.integers(0, 3, num_rows)
    rows[:, 4] = 100 * rows[:, 2] + generator.normal(size=num_rows)
    return rows.astype(np.float32)


def scale_of(rows: np.ndarray, categories=CATEGORIES, goes_with=()) -> Features:
    parts = (rows.mean(0), rows.std(0), rows.min(0), rows.max(0))
    return Features(*(torch.from_numpy(part) for part in parts), categories=categories, goes_with=goes_with)


ROWS = rows_of()
SCALE = scale_of(ROWS)


def view(name, inputs=ROWS, *, scale=SCALE, seed=0, row_id=None, **options) -> np.ndarray:
    row_id = np.arange(len(inputs)) if row_id is None else row_id
    return apply_view(name, options, inputs, row_id, seed=seed, features=scale)


@pytest.mark.parametrize("name", TABLE_VIEWS)
def test_a_code_stays_one_of_its_category(name):
    made = view(name)
    assert np.isfinite(made).all()
    for place in CODES:
        assert set(made[:, place]) <= set(range(CATEGORIES[place]))


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_views_of_numbers_change_numbers_and_leave_codes(name):
    made = view(name)
    np.testing.assert_array_equal(made[:, CODES], ROWS[:, CODES])
    assert (made[:, NUMBERS] != ROWS[:, NUMBERS]).any(1).all()
    with pytest.raises(UserError, match=f"view {name} changes numbers, but all 2 features are categories; use swap"):
        check_view(name, {}, (2,), (3, 4))
    check_view(name, {}, (2,), (3, 0))


@pytest.mark.parametrize("name", TABLE_VIEWS)
def test_zeros_for_categories_are_none(name):
    """A table of numbers goes through every view as before there were categories."""
    np.testing.assert_array_equal(view(name, scale=scale_of(ROWS, (0,) * 5)), view(name, scale=scale_of(ROWS, ())))


def test_the_scale_keeps_its_categories_on_another_device():
    moved = SCALE.to(torch.device("cpu"))
    assert moved.categories == CATEGORIES
    assert moved.is_code().nonzero().flatten().tolist() == CODES
    assert not scale_of(ROWS, ()).is_code().any()


def test_every_row_outside_of_the_box_is_outside_by_a_number():
    made = view("outside_box")[:, NUMBERS]
    low, high = ROWS[:, NUMBERS].min(0), ROWS[:, NUMBERS].max(0)
    assert ((made < low) | (made > high)).any(1).all()


def test_mixup_takes_the_code_of_one_of_the_two_rows():
    inputs = np.zeros((2000, 5), np.float32)
    inputs[1::2] = [1, 5, 1, 2, 1]
    made = view("mixup", inputs, amount_min=0.3, amount_max=0.3, block_rows=2)  # partners are the other kind of row
    assert set(made[:, 1]) == {0, 5}
    np.testing.assert_allclose(made[::2, 0], 0.3, atol=1e-6)
    for place in CODES:
        assert (made[::2, place] > 0).mean() == pytest.approx(0.3, abs=0.05)
    assert 0.3 < ((made[::2, 1] > 0) != (made[::2, 3] > 0)).mean() < 0.55, "each category for itself"


# ---------------------------------------------------------------- swap


@pytest.mark.parametrize(("share", "num_swapped"), [(0.01, 1), (0.2, 1), (0.4, 2), (0.6, 3), (1.0, 5)])
def test_swap_takes_a_share_of_the_cells_from_other_rows_of_the_block(share, num_swapped):
    inputs = np.arange(5000, dtype=np.float32).reshape(1000, 5)
    made = view("swap", inputs, share=share, block_rows=100)
    changed = made != inputs
    assert (changed.sum(1) == num_swapped).all()
    np.testing.assert_allclose(changed.mean(0), num_swapped / 5, atol=0.05)
    source = (made - np.arange(5)) / 5
    np.testing.assert_array_equal(source, np.floor(source))  # each from its own column
    own = np.arange(1000)[:, None]
    assert (source // 100 == own // 100).all()
    if num_swapped > 1:
        rows_taken_from = [set(row[where]) for row, where in zip(source, changed, strict=True)]
        assert np.mean([len(each) == num_swapped for each in rows_taken_from]) > 0.8


def test_all_cells_swapped_are_the_rows_resampled():
    np.testing.assert_array_equal(view("swap", share=1.0), view("resample"))


def test_resample_shuffles_each_column_for_itself():
    """What the issue calls permuted columns: margins stay, codes too, and no two columns belong together any more."""
    made = view("resample")
    for place in CODES:
        found, expected = (np.bincount(rows[:, place].astype(int), minlength=6) / 1000 for rows in (made, ROWS))
        np.testing.assert_allclose(found, expected, atol=0.06)
    assert abs(np.corrcoef(ROWS[:, 0], ROWS[:, 1])[0, 1]) > 0.9
    assert abs(np.corrcoef(made[:, 0], made[:, 1])[0, 1]) < 0.1


# ---------------------------------------------------------------- munge


def nearest_by_hand(inputs: np.ndarray, scale: Features) -> np.ndarray:
    low, span = scale.low.numpy(), (scale.high - scale.low).numpy()
    placed = (inputs - low) / np.where(span > 0, span, 1)
    found = []
    for row in range(len(inputs)):
        distance = np.square(placed[:, NUMBERS] - placed[row, NUMBERS]).sum(1)
        distance += (inputs[:, CODES] != inputs[row, CODES]).sum(1)
        distance[row] = np.inf
        found.append(int(distance.argmin()))
    return np.array(found)


def test_munge_takes_cells_of_the_nearest_row():
    inputs = ROWS[:200]
    made = view("munge", inputs, swap_probability=1.0, local_variance=1e6, block_rows=200)
    np.testing.assert_allclose(made, inputs[nearest_by_hand(inputs, SCALE)], atol=1e-2)


def test_munge_changes_each_cell_with_its_probability_and_noise_as_wide_as_the_difference():
    inputs = np.tile(np.array([[0, 1, 10, 2, 5], [2, 4, 10, 2, 1]], np.float32), (2000, 1))
    made = view("munge", inputs, swap_probability=0.25, local_variance=2.0, block_rows=2)[::2]
    for place in (0, 1, 4):
        assert (made[:, place] != inputs[0, place]).mean() == pytest.approx(0.25, abs=0.04)
    for place in (2, 3):  # equal in both
        assert (made[:, place] == inputs[0, place]).all()
    assert set(made[:, 1]) == {1, 4}
    changed = made[made[:, 0] != 0, 0]  # normal(2, |0 - 2| / 2)
    assert changed.mean() == pytest.approx(2, abs=0.15)
    assert changed.std() == pytest.approx(1, abs=0.1)


def test_munge_keeps_rows_where_rows_are():
    """Two clusters: nothing is made between them, where `resample` and `mixup` put most rows."""
    inputs = ROWS.copy()
    inputs[::2, 2] += 50
    inputs[::2, 1] = 0
    inputs[1::2, 1] = 5
    scale = scale_of(inputs)
    for name, share in (("munge", 0.0), ("resample", 0.5)):
        made = view(name, inputs, scale=scale)
        is_far = made[:, 2] > 25
        assert ((made[:, 1] == 0) != is_far).mean() == pytest.approx(share, abs=0.06), name


def test_a_row_alone_in_its_block_stays():
    np.testing.assert_array_equal(view("munge", ROWS[:1], swap_probability=1.0), ROWS[:1])
    np.testing.assert_array_equal(view("swap", ROWS[:1], share=1.0), ROWS[:1])


# ---------------------------------------------------------------- numbers that are missing


def with_gaps() -> tuple[np.ndarray, Features]:
    """A last column says where column 2 is missing and holds 7.5."""
    is_missing = np.random.default_rng(1).random(1000) < 0.3
    inputs = np.concatenate([ROWS, is_missing[:, None]], axis=1).astype(np.float32)
    inputs[is_missing, 2] = 7.5
    return inputs, scale_of(inputs, (*CATEGORIES, 0), goes_with=(0, 1, 2, 3, 4, 2))


def test_a_table_says_what_is_a_category_and_what_goes_with_what(tmp_path):
    lines = [f"{row / 7:.3f},{'xyz'[row % 3]},{'' if row % 4 == 0 else row % 9},{row % 2}" for row in range(60)]
    (tmp_path / "rows.csv").write_text("\n".join(["a,b,c,label", *lines, ""]))
    found = Features.of(opened(tmp_path / "rows.csv").splits["train"])
    assert found.categories == (0, 5, 0, 0)
    assert found.goes_with == (0, 1, 2, 2)
    assert found.is_code().tolist() == [False, True, False, True]


@pytest.mark.parametrize(("name", "options"), [("resample", {}), ("swap", {"share": 0.3}), ("swap", {"share": 1.0})])
def test_a_number_and_where_it_is_missing_come_from_the_same_row(name, options):
    inputs, scale = with_gaps()
    made = view(name, inputs, scale=scale, **options)
    np.testing.assert_array_equal(made[:, 2] == 7.5, made[:, 5] == 1)
    assert ((made[:, 5] == 1) != (inputs[:, 5] == 1)).any()
    if name == "swap":
        assert ((made != inputs)[:, :5].sum(1) <= max(1, round(options["share"] * 5))).all(), "it is no cell of its own"


def test_munge_takes_it_with_its_number():
    inputs, scale = with_gaps()
    made = view("munge", inputs, scale=scale, local_variance=1e6)
    assert set(made[:, 5]) == {0, 1}
    np.testing.assert_array_equal(np.isclose(made[:, 2], 7.5, atol=1e-3), made[:, 5] == 1)


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_noise_leaves_it(name):
    inputs, scale = with_gaps()
    for categories in ((*CATEGORIES, 0), ()):
        found = scale_of(inputs, categories, scale.goes_with)
        np.testing.assert_array_equal(view(name, inputs, scale=found)[:, 5], inputs[:, 5])


# ---------------------------------------------------------------- views that need members


@pytest.mark.parametrize("name", ["ods", "conf_ods"])
def test_views_by_gradients_leave_codes(name):
    member = build_member(ModelSpec("member", "mlp", (5,), 3, {"hidden": [8]}, categories=CATEGORIES), 0).eval()
    row_id = torch.arange(20)
    made = apply_with_members(name, {"step": 0.5}, [member], torch.from_numpy(ROWS[:20]), row_id, seed=0).numpy()
    np.testing.assert_array_equal(made[:, CODES], ROWS[:20, CODES])
    assert (made[:, NUMBERS] != ROWS[:20, NUMBERS]).any(1).all()


def test_where_all_features_are_categories_no_gradient_reaches_them():
    with pytest.raises(UserError, match="view ods changes numbers, but all 2 features are categories"):
        check_view("ods", {}, (2,), (4, 3))
