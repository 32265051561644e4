"""The report on synthetic inputs: complete, self-contained, and equal to the metrics it was given."""

from __future__ import annotations

import html
import io
import json
import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
from helpers.pages import Page
from helpers.report_inputs import SPREADS, search_of_both, synthetic
from PIL import Image
from rich.console import Console

from hydra_ray.data import TEST
from hydra_ray.evaluation.metrics_tree import figure, figures
from hydra_ray.metrics.row_scores import RowScores
from hydra_ray.report.figures import pictures_of
from hydra_ray.report.files import make_report
from hydra_ray.report.formats import (
    ascii_only,
    count,
    decimal,
    duration,
    milliseconds,
    percent,
    rough_percent,
)
from hydra_ray.report.page import write_html, write_markdown
from hydra_ray.report.prediction_figures import error_by_coverage, reliability, sparsification_picture
from hydra_ray.report.search_figures import front_picture, others_shown
from hydra_ray.report.search_tables import trials_table
from hydra_ray.report.style import DPI, WIDTH, colours
from hydra_ray.report.tables import comparison_table, fidelity_table, terminal_table, to_markdown
from hydra_ray.report.training_figures import training_curves
from hydra_ray.report.uncertainty_figures import scatter_picture

PICTURES = {
    "knowledge_uncertainty.png",
    "fidelity.png",
    "reliability.png",
    "sparsification.png",
    "training.png",
    "trials-hydra.png",
}


@pytest.fixture(scope="module")
def inputs():
    return synthetic()


@pytest.fixture(scope="module")
def report(inputs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return make_report(inputs)


def text_of(table, width=100):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(table)
    return console.file.getvalue()


def without_drawing(monkeypatch):
    """Pages without the time that pictures take."""
    monkeypatch.setattr("hydra_ray.report.files.draw_pictures", lambda inputs: {})


# The search.


def test_a_front_is_drawn_and_listed_with_the_trial_that_is_taken(inputs):
    search = search_of_both(inputs.searches["hydra"].trials, budget=0.5)
    both = replace(inputs, searches={"hydra": search, "kd": replace(search, budget=None)})
    kinds = [kind for kind in pictures_of(both) if "hydra" in kind.file]
    assert [kind.file for kind in kinds] == ["front-hydra.png", "trials-hydra.png"]
    assert Image.open(io.BytesIO(kinds[0].draw(both))).width == round(WIDTH * DPI)
    table = trials_table("hydra", search)
    front = [row for row in search.trials if row["on_front"]]
    assert 1 < len(front) < len(search.trials)
    assert sorted(row[0] for row in table.rows) == [row["trial"] for row in front]
    assert [row[2] for row in table.rows] == sorted(row[2] for row in table.rows), "best NLL first"
    assert [row[0] for row in table.rows if row[1] == "taken"] == [search.taken]
    assert table.title == f"The {len(front)} trials of hydra that no other beats"
    assert "MACs /\nmember's" in table.columns
    assert "macs" not in table.columns
    page = Page(write_html(both, {}))
    assert len(page.ids) == len(set(page.ids))


def test_a_budget_shows_the_cost_of_trials_that_are_compared_by_one_figure(inputs):
    search = inputs.searches["hydra"]
    assert others_shown(search) == []
    assert others_shown(replace(search, budget=1.0)) == ["macs"]
    assert front_picture(replace(search, budget=1.0))


# The whole report.


def test_every_file_is_there(report):
    assert set(report) == {"metrics.json", "report.md", "report.html"} | PICTURES


def test_metrics_json_is_what_was_given(report, inputs):
    assert json.loads(report["metrics.json"]) == inputs.metrics


def test_pictures_are_page_wide(report):
    for name in PICTURES:
        image = Image.open(io.BytesIO(report[name]))
        image.load()
        assert image.width == round(WIDTH * DPI), name
        assert 400 <= image.height <= 2000, name


def test_page_is_well_formed_and_needs_nothing_outside(report):
    text = report["report.html"].decode()
    page = Page(text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert page.tags.count("img") == len(PICTURES)
    for reference in page.references:
        assert reference.startswith("data:") or reference.removeprefix("#") in page.ids
    assert not re.search(r"https?:|url\(|@import|<script", re.sub(r"data:image/png;base64,[\w+/=]+", "", text))


def test_markdown_shows_every_picture(report):
    text = report["report.md"].decode()
    assert set(re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)) == PICTURES
    widths = [line.count(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert len(widths) > 30


def test_same_evidence_same_bytes(report, inputs):
    assert sparsification_picture(inputs) == report["sparsification.png"]


def test_page_holds_every_figure(report, inputs):
    cells = set(Page(report["report.html"].decode()).cells)
    for name, found in inputs.metrics["test"].items():
        assert decimal(found["nll"]) in cells
        assert percent(found["accuracy"]) in cells
        assert count(inputs.metrics["cost"][name]["macs"]) in cells
    for ratio in inputs.metrics["fidelity"]["hydra"]["mutual_information_ratio"].values():
        assert decimal(ratio) in cells
    assert duration(inputs.metrics["seconds"]["tune"]) in cells


@pytest.mark.parametrize(
    "changes",
    [
        {"unknown": ("photos", "letters", "shifted_digits_of_a_long_name"), "trials": False, "epochs": False},
        {"unknown": (), "trials": False, "epochs": False},
        {"students": ("kd",), "trials": False},
        {"unknown": (), "students": ("hydra", "kd", "end2", "own_student"), "trials": False},
    ],
    ids=["three unknown sets", "no unknown set", "single head, no trials", "many students"],
)
def test_other_shapes_of_evidence(changes, monkeypatch):
    monkeypatch.setitem(SPREADS, "own_student", 0.0)
    inputs = synthetic(**{"num_rows": 100, **changes})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = make_report(inputs)
    missing = set() if inputs.searches else {"trials-hydra.png"}
    missing |= set() if inputs.epochs else {"training.png"}
    missing |= {"fidelity.png"} if changes.get("students") == ("kd",) else set()
    assert {name for name in report if name.endswith(".png")} == PICTURES - missing
    assert Page(report["report.html"].decode()).open == []


def test_many_rows_are_shown_as_density():
    few, many = (synthetic(num_rows=rows, trials=False, epochs=False) for rows in (400, 2000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert scatter_picture(many) != scatter_picture(few)


def test_names_are_escaped(monkeypatch):
    without_drawing(monkeypatch)
    name = "<script>alert('x')</script> & | more"
    inputs = synthetic(unknown=("<b>",), run_name=name, num_rows=50)
    report = make_report(replace(inputs, facts={"<i>": "</td>|"}))
    page = Page(report["report.html"].decode())
    assert "script" not in page.tags
    assert html.escape(name, quote=False).replace("'", "&#39;") in report["report.html"].decode()
    assert {"script", "b", "i"} & set(page.tags) <= {"i"}
    heading, body = report["report.md"].decode().split("\n", 1)
    assert heading == r"# &lt;script>alert('x')&lt;/script> &amp; \| more"
    assert "<b>" not in body.split("```yaml")[0]


def test_figures_that_are_not_there_are_dashes_and_null(monkeypatch):
    without_drawing(monkeypatch)
    inputs = synthetic(num_rows=50)
    inputs.metrics["test"]["hydra"]["nll"] = float("nan")
    inputs.metrics["cost"]["hydra"]["macs"] = None
    del inputs.metrics["seconds"]
    report = make_report(inputs)
    assert json.loads(report["metrics.json"])["test"]["hydra"]["nll"] is None
    row = next(row for row in comparison_table(inputs.metrics).rows if row[0] == "hydra")
    assert row[1] == row[-1] == "–"
    assert not re.search(r"\bnan\b|None", report["report.html"].decode())


# Tables.


def test_comparison_table_equals_the_metrics(inputs):
    table, metrics = comparison_table(inputs.metrics), inputs.metrics
    assert [row[0] for row in table.rows] == ["member", "ensemble", "hydra", "kd"]
    for name, nll, accuracy, spread, aurocs, parameters, macs in table.rows:
        test, unknown = metrics["test"][name], metrics["unknown"]["photos"][name]
        assert nll == f"{test['nll']:.4f}"
        assert accuracy == f"{100 * test['accuracy']:.2f} %"
        assert spread == decimal(test["mutual_information"])
        assert aurocs == f"{decimal(unknown['auroc_mutual_information'], 3)} / {unknown['auroc_entropy']:.3f}"
        assert (parameters, macs) == tuple(count(metrics["cost"][name][key]) for key in ("num_parameters", "macs"))


def test_single_heads_have_a_dash_for_knowledge_uncertainty(inputs):
    row = next(row for row in comparison_table(inputs.metrics).rows if row[0] == "kd")
    assert row[3] == "–"
    assert row[4].startswith("– / 0.")


def test_fidelity_table_equals_the_metrics(inputs):
    table, found = fidelity_table(inputs.metrics), inputs.metrics["fidelity"]
    assert table.columns == ("figure", "ideal", "hydra", "kd")
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["NLL / ensemble's"] == ("1", *(decimal(found[name]["nll_ratio"]) for name in ("hydra", "kd")))
    ranks = decimal(found["hydra"]["spearman_mutual_information"]["photos"])
    assert rows["rank correlation of MI, photos"] == ("1", ranks, "–")
    assert len(rows) == sum(1 for _ in figures(found["hydra"]))


def test_terminal_table_fits_and_is_plain():
    metrics = synthetic(
        unknown=("fashion_mnist", "shifted"), students=("hydra", "kd", "proxy_end2"), num_rows=50
    ).metrics
    text = text_of(terminal_table(metrics))
    assert max(map(len, text.splitlines())) <= 100
    assert ascii_only(text.replace("─", "-")).isascii()
    for row in comparison_table(metrics).rows:
        line = next(line for line in text.splitlines() if line.split()[:1] == [row[0]])
        assert all(ascii_only(cell) in line for cell in row)


def test_markdown_cells_are_escaped():
    table = replace(comparison_table({"test": {"a|b": {"nll": 1.0}}}), title="")
    assert to_markdown(table).splitlines()[2].startswith(r"| a\|b | 1.0000 | – | – |")


# Small parts.


def test_reliability_bins_are_closed_on_the_right():
    bins = reliability(np.array([1 / 15, 0.07, 1.0, 0.95]), np.array([True, False, True, False]))
    assert bins.rows.tolist() == [1, 1, *[0] * 12, 2]
    assert bins.accuracy[[0, 1, 14]].tolist() == [1, 0, 0.5]
    assert np.isnan(bins.accuracy[5])


def test_coverage_does_not_depend_on_the_order_of_ties():
    wrong = np.array([0.0, 1.0, 0.0, 1.0])
    coverage, error = error_by_coverage(np.array([0.1, 0.2, 0.2, 0.3]), wrong)
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1]
    np.testing.assert_allclose(error, [0, 0.25, 1 / 3, 0.5])


def test_an_epoch_done_twice_counts_once():
    events = [{"member": 1, "epoch": epoch, "loss": loss} for epoch, loss in ((1, 3.0), (2, 2.5), (2, 2.0))]
    assert [event["loss"] for event in training_curves(events, "member")["1"]] == [3.0, 2.0]
    assert training_curves(events, "student") == {}


def test_row_scores_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"one shape \[N\]"):
        RowScores(total=np.ones(3), data=np.ones(2))


def test_test_rows_without_labels_are_refused():
    rows = RowScores(total=np.ones(3), data=np.ones(3))
    with pytest.raises(ValueError, match="need `error`: hydra"):
        replace(synthetic(num_rows=50), scores={"hydra": {TEST: rows}})


def test_colours_are_each_their_own():
    names = ["member", "ensemble", "hydra", "kd", "end2", "proxy_end2", "mine", "yours"]
    assert len(set(colours(names).values())) == len(names)
    assert colours(["hydra"])["hydra"] == colours(names)["hydra"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (decimal(0.04391), "0.0439"),
        (decimal(0.0000228), "2.3e-05"),
        (decimal(0.0), "0.0000"),
        (decimal(None), "–"),
        (count(650), "650"),
        (count(12_345), "12.3 k"),
        (count(999_700), "1.00 M"),
        (count(1_204_000), "1.20 M"),
        (rough_percent(0.978), "98 %"),
        (rough_percent(0.0342), "3.4 %"),
        (percent(0.97222), "97.22 %"),
        (milliseconds(0.0213), "0.0213 ms"),
        (milliseconds(208.3), "208 ms"),
        (duration(59.96), "1 min 00 s"),
        (duration(7265), "2 h 01 min"),
    ],
)
def test_formats(text, expected):
    assert text == expected


def test_figure_is_none_for_what_is_no_number():
    tree = {"a": {"b": float("inf"), "c": np.float32(0.5), "d": "x"}}
    assert [figure(tree, "a", key) for key in "bcde"] == [None, 0.5, None, None]


def test_what_is_known_against_a_student_stands_below_what_it_kept():
    note = "hydra: calibration ends at its bound 10, where the heads' mutual information is 0.2 times the members'."
    inputs = replace(synthetic(num_rows=60, trials=False, epochs=False), notes=[note])
    for page in (write_markdown(inputs), write_html(inputs, {})):
        assert page.count("calibration ends at its bound 10") == 1
