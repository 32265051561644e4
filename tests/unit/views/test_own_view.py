"""A user's own view by import path: docs/recipes.md's example runs, what breaks its word is told, edits are noticed."""

import re
import sys

import numpy as np
import pytest
import torch
from helpers.finished import RECIPE, loaded, recipe
from helpers.own_modules import own_module
from support import REPO

from hydra_ray.config import OptionModels
from hydra_ray.config.load import load_config
from hydra_ray.errors import UserError
from hydra_ray.models import architecture_options
from hydra_ray.runs import check_views
from hydra_ray.views import apply_view, own_view, view_options

EXAMPLE = re.search(r"```python\n# my_package/views.py\n(.*?)```", (REPO / "docs/recipes.md").read_text(), re.S)
HEAD = """
import torch
from hydra_ray.config import NoOptions
from hydra_ray.views import view
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes the user's module, and says its name."""
    with own_module(tmp_path, monkeypatch, own_view._code.cache_clear) as write:
        yield write


@pytest.fixture
def example(write):
    assert EXAMPLE
    return f"{write(EXAMPLE[1])}:dropout"


def with_view(tmp_path, view: str, options: str = "{}", data: str = ""):
    text = RECIPE.replace("[{view: identity}]", f"[{{view: identity}}, {{view: '{view}', options: {options}}}]")
    return recipe(tmp_path, text.replace("source: digits, max_train_rows: 200", data) if data else text)


def test_the_example_of_the_docs_makes_rows(example, tmp_path):
    run = loaded(with_view(tmp_path, example, "{share: 0.3}"))
    check_views(run)
    rows = np.full((200, 8, 8, 1), 9, np.uint8)
    made = apply_view(example, {"share": 0.3}, rows, np.arange(200), seed=0)
    assert made.dtype == np.uint8
    assert (made == 0).mean() == pytest.approx(0.3, abs=0.02)
    np.testing.assert_array_equal(
        apply_view(example, {"share": 0.3}, rows[50:60], np.arange(50, 60), seed=0), made[50:60]
    )


def test_its_options_are_checked_when_the_recipe_is_read(example, tmp_path):
    path = with_view(tmp_path, example, "{shar: 0.3}")
    expected = "transfer.views.1.options.shar=0.3: unknown key; nearest: transfer.views.1.options.share"
    with pytest.raises(UserError, match=expected):
        load_config(path, option_models=lambda: OptionModels(view_options, architecture_options))


def test_an_edit_makes_the_transfer_shards_anew_and_no_others(example, write, tmp_path):
    path = with_view(tmp_path, example)
    run = loaded(path)
    run.__dict__["_member_digests"] = ()  # no member is trained here
    transfer, validation = run.shards("transfer").key, run.shards("validation").key
    write(EXAMPLE[1] + "\n# another thought\n")
    after = loaded(path)
    after.__dict__["_member_digests"] = ()
    assert after.shards("validation").key == validation
    changed = after.shards("transfer").key
    assert changed["views"]["1"].pop("code") != transfer["views"]["1"].pop("code")
    assert changed == transfer


def test_an_edit_of_what_it_imports_shows_in_what_it_makes(write, tmp_path):
    view = f"{write(HEAD + 'from strength import BY' + ONE.format('batch.rows + BY'))}:f"
    codes = set()
    for by in (1, 1, 2):
        (tmp_path / "strength.py").write_text(f"BY = {by}\n")
        sys.modules.pop("strength", None)
        write((tmp_path / f"{view[:-2]}.py").read_text())
        codes.add(own_view.view_code(view, {}, (3,)))
    sys.modules.pop("strength", None)
    assert len(codes) == 2


def test_members_trained_on_it_follow_an_edit(example, write, tmp_path):
    path = recipe(tmp_path, RECIPE.replace("epochs: 1}", f"epochs: 1, augment: {{view: '{example}'}}}}", 1))
    before = loaded(path).member(0).fingerprint
    write(EXAMPLE[1] + "\n# another thought\n")
    assert loaded(path).member(0).fingerprint != before


ONE = """
@view(NoOptions, takes="both")
def f(options, batch):
    return {}
"""
BROKEN = {
    "batch.rows.tolist()": "returns a list, not a tensor; return [2, 8, 8, 1] for [2, 8, 8, 1]",
    "batch.rows[:, :4]": "returns rows of shape [2, 4, 8, 1]; return [2, 8, 8, 1] for [2, 8, 8, 1]",
    "batch.rows.long()": "returns int64; return uint8, or floats from 0 to 255",
    "batch.rows / 0": "returns values that are not finite; mend it",
    "batch.rows + torch.rand(1)": "makes other rows the second time; take random numbers from batch.draws alone",
    "batch.rows - batch.rows.float().mean()": "when it comes alone; make each row of itself and of batch.draws",
    "batch.rows.zero_()": "writes into batch.rows; work on a copy, batch.rows.clone()",
    "batch.nothing": "fails on 2 rows (AttributeError: 'ViewBatch' object has no attribute 'nothing'); mend it",
}


@pytest.mark.parametrize("body", BROKEN)
def test_what_breaks_its_word_is_told_before_anything_starts(write, tmp_path, body):
    view = f"{write(HEAD + ONE.format(body))}:f"
    with pytest.raises(UserError) as raised:
        check_views(loaded(with_view(tmp_path, view)))
    text = str(raised.value)
    assert text.startswith(f"transfer.views.1.view={view}: ")
    assert BROKEN[body] in text


@pytest.mark.parametrize(
    ("body", "expected"), [("batch.rows.double()", "returns float64; return float32"), ("batch.rows + 1", None)]
)
def test_rows_of_features_are_checked_too(write, tmp_path, body, expected):
    view = f"{write(HEAD + ONE.format(body))}:f"
    (tmp_path / "rows.csv").write_text(
        "a,b,label\n" + "".join(f"{row / 7:.3f},{row % 5},{row % 2}\n" for row in range(40))
    )
    run = loaded(with_view(tmp_path, view, data=f"source: {tmp_path}/rows.csv"))
    if expected is None:
        check_views(run)
        return
    with pytest.raises(UserError, match=expected):
        check_views(run)


def test_one_that_mixes_has_partners_and_one_that_needs_members_has_them(write, tmp_path):
    module = write(
        HEAD
        + "from hydra_ray.views import BlockOptions\n"
        + "@view(BlockOptions, mixes='rows', keeps_label=False)\n"
        + "def halves(options, batch):\n    return (batch.rows / 2 + batch.partners / 2).floor()\n"
        + "@view(NoOptions, needs_members=True)\n"
        + "def asked(options, batch, members):\n"
        + "    return batch.rows * (members[0](batch.rows).argmax(1) >= 0).reshape(-1, 1, 1, 1)\n"
    )
    check_views(loaded(with_view(tmp_path, f"{module}:asked")))
    check_views(loaded(with_view(tmp_path, f"{module}:halves"), "predict.rows_per_shard=500"))
    with pytest.raises(UserError, match=r"rows_per_shard=600 is no multiple of 500, the rows that transfer\.views\.1"):
        check_views(loaded(with_view(tmp_path, f"{module}:halves"), "predict.rows_per_shard=600"))


def test_a_function_without_the_decorator_is_no_view(write, tmp_path):
    view = f"{write(HEAD + 'def f(options, batch): return batch.rows')}:f"
    with pytest.raises(
        UserError, match=r"is a function, not a view; write @view\(\.\.\.\) of hydra_ray\.views above it"
    ):
        check_views(loaded(with_view(tmp_path, view)))


def test_views_of_ours_have_no_code():
    assert own_view.view_code("affine", {}, (8, 8, 1)) is None
    assert torch.equal(own_view._two_fixed_rows((3,)), own_view._two_fixed_rows((3,)))
