"""Rows drawn by their members' disagreement: rates, epochs of the same size, windows, ranks, going on at any step."""

import numpy as np
import pytest
from helpers.shards import synthetic, taken, write
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_ray.shards.loader import BatchReader
from hydra_ray.shards.schema import load
from hydra_ray.shards.uneven_draws import EpochDraws, UnevenDraws, draw_rates
from hydra_ray.storage.folder import Folder

SMALL = 600  # bytes: several windows
quick = settings(deadline=None, max_examples=50)


@quick
@given(
    st.lists(st.floats(0, 10, allow_subnormal=False), min_size=1, max_size=60),
    st.floats(1, 50),
)
def test_rates_are_between_the_cap_and_its_reciprocal_rise_with_disagreement_and_have_mean_one(values, cap):
    values = np.array(values)
    rates = draw_rates(values, cap)
    assert rates.mean() == pytest.approx(1)
    assert rates.max() <= cap * (1 + 1e-9)
    assert rates.min() >= (1 - 1e-9) / cap
    assert (np.diff(rates[np.argsort(values)]) >= -1e-9).all()
    np.testing.assert_allclose(draw_rates(1000 * values, cap), rates, rtol=1e-6, err_msg="no unit")


def test_rates_are_in_proportion_to_disagreement_between_the_ends():
    np.testing.assert_allclose(draw_rates(np.array([1.0, 2.0, 3.0]), 10.0), [0.5, 1.0, 1.5])
    np.testing.assert_allclose(draw_rates(np.array([1e-9, 1.0, 1.0, 100.0]), 2.0), [0.5, 0.75, 0.75, 2.0])


def test_rows_that_too_few_members_answered_are_drawn_as_often_as_the_average():
    np.testing.assert_allclose(draw_rates(np.array([np.nan, 1.0, 3.0, np.nan]), 10.0), [1, 0.5, 1.5, 1])
    for nothing in (np.full(3, np.nan), np.zeros(3)):
        np.testing.assert_array_equal(draw_rates(nothing, 4.0), np.ones(3))


@quick
@given(st.integers(0, 2**32), st.integers(1, 40), st.floats(1, 20))
def test_an_epoch_has_every_row_as_often_as_its_rate_up_to_one(seed, num_rows, cap):
    """And as many rows as there are, in however many windows they are read."""
    rng = np.random.default_rng(seed)
    rates = draw_rates(rng.lognormal(sigma=3, size=num_rows), cap)
    draws = EpochDraws(num_rows, rng)
    ends = np.sort(rng.integers(1, num_rows + 1, 2))
    windows = [part for part in np.split(np.arange(num_rows), ends) if len(part)]
    drawn = np.concatenate([window[draws.of_window(rates[window])] for window in windows])
    assert len(drawn) == num_rows
    counts = np.bincount(drawn, minlength=num_rows)
    assert (np.abs(counts - rates) < 1 + 1e-9).all()


def test_over_many_epochs_rows_come_as_often_as_their_rates():
    rates = draw_rates(np.random.default_rng(0).lognormal(sigma=2, size=30), 5.0)
    counts = [
        np.bincount(EpochDraws(30, np.random.default_rng(seed)).of_window(rates), minlength=30) for seed in range(3000)
    ]
    np.testing.assert_allclose(np.mean(counts, axis=0), rates, atol=0.05)


@pytest.fixture
def numbered(tmp_path):
    """60 rows of two views in six shards, each input its own number."""
    folder = Folder.open(str(tmp_path / "shards"))
    for view in range(2):
        rows = synthetic(30, shape=(1,), view=view)
        rows.inputs[:] = (rows.row_id + 100 * view)[:, None]
        for part in range(3):
            write(folder, f"part-{view:03d}-{part:05d}.parquet", taken(rows, slice(10 * part, 10 * part + 10)))
    return folder


def by_number(rows):
    """Rows of the second view are where members disagree; of row 0 nothing is known."""
    numbers = rows.inputs[:, 0]
    return np.where(numbers == 0, np.nan, np.where(numbers >= 100, 5.0, 1.0))


def reader(source, **changed):
    options = {"batch_size": 12, "seed": 0, "num_members": 3, "draws": UnevenDraws(4.0, by_number)}
    return BatchReader(source, **{**options, **changed})


def steps(batches, epoch=0, start=0):
    return [rows.inputs[:, 0].astype(int).tolist() for rows in batches.batches(epoch, start)]


@pytest.mark.parametrize("max_bytes", [1 << 30, SMALL])
def test_an_epoch_has_as_many_rows_and_more_of_those_with_disagreement(numbered, max_bytes):
    batches = reader(numbered, max_bytes=max_bytes)
    counts = np.zeros(200)
    for epoch in range(40):
        found = steps(batches, epoch)
        assert [len(step) for step in found] == [12] * 5
        np.add.at(counts, [row for step in found for row in step], 1 / 40)
    rates = draw_rates(by_number(load(numbered)), 4.0)
    np.testing.assert_allclose(counts[100:130].mean(), rates[30], rtol=0.05)
    np.testing.assert_allclose(counts[1:30].mean(), rates[1], rtol=0.1)
    assert rates[30] / rates[1] == pytest.approx(5)


@pytest.mark.parametrize("max_bytes", [1 << 30, SMALL])
@pytest.mark.parametrize("num_ranks", [2, 3, 5])
def test_ranks_together_take_the_global_batches_of_one(numbered, num_ranks, max_bytes):
    alone = steps(reader(numbered, max_bytes=max_bytes))
    ranks = [reader(numbered, rank=rank, num_ranks=num_ranks, max_bytes=max_bytes) for rank in range(num_ranks)]
    together = [steps(each) for each in ranks]
    assert {len(each) for each in together} == {5}
    for step, rows in enumerate(alone):
        assert sorted(rows) == sorted(row for each in together for row in each[step])


@pytest.mark.parametrize("max_bytes", [1 << 30, SMALL])
def test_an_epoch_follows_from_its_number_and_goes_on_at_any_step(numbered, max_bytes):
    batches = reader(numbered, max_bytes=max_bytes)
    whole = steps(batches, 2)
    assert steps(reader(numbered, max_bytes=max_bytes), 2) == whole
    assert steps(batches, 3) != whole != steps(reader(numbered, max_bytes=max_bytes, seed=1), 2)
    for start in (1, 4, 5):
        assert steps(reader(numbered, max_bytes=max_bytes), 2, start) == whole[start:]


def test_rows_in_memory_are_drawn_as_rows_read(numbered):
    assert steps(reader(load(numbered)), 1) == steps(reader(numbered, max_bytes=1 << 30), 1)


def test_disagreement_is_looked_at_once(numbered):
    seen = []

    def counted(rows):
        seen.append(len(rows))
        return by_number(rows)

    batches = reader(numbered, max_bytes=SMALL, draws=UnevenDraws(4.0, counted))
    assert seen == []
    steps(batches, 0)
    steps(batches, 1)
    assert seen == [10] * 6, "a shard at a time"
