"""The transfer set's plan: view numbers, shares, which rows a share keeps, and what is refused."""

import numpy as np
import pytest

from hydra_ray.config.load import validate
from hydra_ray.config.transfer import TransferConfig, TransferView
from hydra_ray.errors import UserError
from hydra_ray.runs import check_views
from hydra_ray.runs.run import Run
from hydra_ray.views.transfer_set import number_views

ROWS = {"train": 1000, "transfer-1": 250}


def _transfer(*views, num_rows=None):
    return TransferConfig(views=[TransferView(**view) for view in views], num_rows=num_rows)


def _names(numbered):
    return {number: (view.label, view.rows_of, round(view.keep, 6)) for number, view in numbered.items()}


def test_the_untouched_rows_are_view_0_wherever_they_stand():
    numbered = number_views(_transfer({"view": "affine", "count": 2}, {"view": "identity"}), ROWS)
    assert _names(numbered) == {0: ("identity", "train", 1), 1: ("affine", "train", 1), 2: ("affine", "train", 1)}
    assert 0 not in number_views(_transfer({"view": "affine"}), ROWS)


def test_shares_become_copies_and_a_rest():
    transfer = _transfer({"view": "identity", "share": 0.25}, {"view": "affine", "share": 0.75}, num_rows=2000)
    expected = {0: ("identity", "train", 0.5), 1: ("affine", "train", 1), 2: ("affine", "train", 0.5)}
    assert _names(number_views(transfer, ROWS)) == expected


def test_rows_of_a_further_source_count_from_its_own_size():
    transfer = _transfer(
        {"view": "identity", "share": 0.6}, {"view": "identity", "share": 0.4, "source": "elsewhere"}, num_rows=1000
    )
    numbered = number_views(transfer, ROWS)
    assert [(view.rows_of, round(view.keep, 6)) for view in numbered.values()] == [
        ("train", 0.6), ("transfer-1", 1), ("transfer-1", 0.6)
    ]  # fmt: skip
    assert [view.has_labels for view in numbered.values()] == [True, False, False]


def test_a_share_keeps_about_so_many_rows_whatever_slice_they_are_asked_in():
    view = number_views(_transfer({"view": "identity", "share": 0.3}, {"view": "affine", "share": 0.7}), ROWS)[0]
    rows = np.arange(20_000)
    kept = view.kept(rows, seed=4)
    assert abs(kept.mean() - 0.3) < 0.015
    assert np.array_equal(np.concatenate([view.kept(part, seed=4) for part in np.array_split(rows, 7)]), kept)
    assert not np.array_equal(view.kept(rows, seed=5), kept)


@pytest.mark.parametrize(
    ("views", "message"),
    [
        ([{"view": "identity", "share": 0.5}, {"view": "affine", "share": 0.4}], "add up to 0.9"),
        ([{"view": "identity", "share": 0.5}, {"view": "affine"}], r"transfer.views.1: has no share"),
        ([{"view": "affine", "share": 1.0, "count": 2}], "count=2 beside share=1"),
        ([{"view": "identity", "count": 2}], "identity shows every row more than once"),
        ([{"view": "identity"}, {"view": "identity"}], "identity shows every row more than once"),
    ],
)
def test_what_does_not_add_up_is_refused(views, message):
    with pytest.raises(UserError, match=message) as error:
        number_views(_transfer(*views), ROWS)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "views"),
    [
        ("images", ("affine", "elastic", "smooth_noise")),
        ("features", ("gaussian_noise", "resample")),
        ("text", ("swap", "resample")),
        ("text alone", ("swap", "resample")),
    ],
)
def test_a_recipe_without_views_has_those_of_its_kind_of_rows(tmp_path, kind, views):
    numbers = [f"{row / 7:.3f},{row % 5},{row % 2}" for row in range(40)]
    texts = [f"{row / 7:.3f},{'xyz'[row % 3]},{row % 2}" for row in range(40)]
    alone = [f"{'uvw'[row % 3]},{'xyz'[row // 3 % 3]},{row % 2}" for row in range(40)]
    lines = {"images": [], "features": numbers, "text": texts, "text alone": alone}[kind]
    (tmp_path / "rows.csv").write_text("\n".join(["a,b,label", *lines, ""]))
    source = "digits" if kind == "images" else str(tmp_path / "rows.csv")
    run = Run(validate({"name": "one", "storage": str(tmp_path), "data": {"source": source}}, "here"))
    check_views(run)
    found = [view.view for view in run.config.transfer.views or ()]
    assert found == ["identity", *views]
    assert len(run.views("transfer")) == len(found)
    of_validation = run.views("validation_views")
    assert [view.view.view for view in of_validation.values()] == list(views)
    assert {view.rows_of for view in of_validation.values()} == {"validation"}


@pytest.mark.parametrize(("rows", "options"), [(5000, {}), (600, {"block_rows": 100}), (7, None)])
def test_views_of_validation_rows_that_nobody_named_fit_the_shards_there_are(tmp_path, rows, options):
    """Nobody is refused for a view that is not in the recipe."""
    given = {"data": {"source": "diabetes"}, "predict": {"rows_per_shard": rows}}
    given["transfer"] = {"views": [{"view": "identity"}]}
    run = Run(validate({"name": "one", "storage": str(tmp_path), **given}, "here"))
    check_views(run)
    found = {view.view: view.options for view in run.config.data.validation_views or ()}
    assert found == {"gaussian_noise": {}, **({} if options is None else {"resample": options})}
