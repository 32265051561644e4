"""The page of a study: its table, its verdicts, and each kind of picture."""

import pytest

from hydra_ray.config import load_config
from hydra_ray.config.studies import Study
from hydra_ray.report import study_files, study_table, verdict_lines, verdict_table
from hydra_ray.report.study_figures import _dots
from hydra_ray.runs import study_results, sweep_of_study
from hydra_ray.runs.study import path_of

PNG = b"\x89PNG"


def study(**changed) -> Study:
    tree = {
        "name": "mine",
        "title": "A study",
        "recipe": "digits",
        "seeds": [0, 1, 2],
        "variants": [{"name": f"v{m}{w}", "at": {"members": m, "width": w}} for w in (8, 32) for m in (1, 2, 4)],
        "columns": {"accuracy": "test.hydra.accuracy", "NLL": "test.hydra.nll", "absent": "robustness.clean.hydra"},
        "statements": [
            {"says": "More is better.", "claims": [{"figure": "accuracy", "of": "v48", "over": "v18", "above": 0}]},
            {
                "says": "Half is there with two.",
                "claims": [
                    {"figure": "accuracy", "of": "v28", "over": "v18", "best": "v48", "above": 0.45},
                    {"figure": "NLL", "of": "v18", "over": "v48", "below": 0},
                ],
            },
        ],
    }
    return Study.model_validate({**tree, **changed})


def results(found: Study) -> dict:
    """Accuracy grows with members, a little differently with each seed; runs with 1 member have no NLL."""
    sweep = sweep_of_study(found, lambda laid_over: load_config("digits", laid_over=laid_over))
    runs = []
    for settings in sweep.settings:
        members = int(settings["variant"][1])
        figures = {"accuracy": 0.9 + 0.01 * members + 0.001 * settings["seed"] * members}
        runs.append({"test": {"hydra": {**figures, "nll": None if members == 1 else 0.3}}})
    return study_results(found, sweep, runs, "hydra-ray study mine")


def test_the_table_has_mean_and_deviation_and_no_column_that_nobody_has():
    table = study_table(results(study()))
    assert table.columns == ("", "accuracy", "NLL")
    assert table.rows[0] == ("v18", "91.10 % ± 0.1 %", "–")
    assert table.rows[2] == ("v48", "94.40 % ± 0.4 %", "0.3000 ± 0")
    assert table.title == "A study, mean ± standard deviation over 3 seeds"


def test_counts_have_no_deviation():
    counted = study(columns={"parameters": "cost.hydra.num_parameters"}, statements=[])
    sweep = sweep_of_study(counted, lambda laid_over: load_config("digits", laid_over=laid_over))
    found = study_results(
        counted,
        sweep,
        [{"cost": {"hydra": {"num_parameters": 19_574}}} for _ in sweep.settings],
        "hydra-ray study mine",
    )
    assert study_table(found).rows[0] == ("v18", "19,574")


def test_verdicts_stand_with_their_figure_and_interval():
    table = verdict_table(results(study()))
    more, half, none, both = table.rows
    # differences 0.03, 0.033, 0.036: mean 0.033, deviation 0.003, t(0.975, 2) = 4.3027
    assert more == ("More is better.", "accuracy: v48 - v18", "above 0", "+3.30 % [+2.55 %, +4.05 %]", "holds")
    assert half[1:4] == ("accuracy: (v28 - v18) / (v48 - v18)", "above 0.45", "+0.333 [+0.333, +0.333]")
    assert half[4] == "does not hold"
    assert none[3:] == ("not measured", "undecided")
    assert both == ("Half is there with two.", "all of it", "", "", "does not hold")


def test_a_terminal_gets_lines_that_need_no_width():
    lines = verdict_lines(results(study()))
    assert lines[:3] == [
        "More is better. HOLDS",
        "    accuracy: v48 - v18",
        "      +3.30 % [+2.55 %, +4.05 %], holds (above 0)",
    ]
    assert lines[3] == "Half is there with two. DOES NOT HOLD"


def test_a_dot_between_digits_is_part_of_a_number():
    path = "robustness.robust_accuracy.pgd.0.1.*"
    assert path_of(path, "hydra_raw") == ["robustness", "robust_accuracy", "pgd", "0.1", "hydra_raw"]
    assert path_of("unknown.cifar100.hydra.auroc_entropy", None) == ["unknown", "cifar100", "hydra", "auroc_entropy"]


def test_the_page_says_what_was_run():
    files = study_files(results(study()))
    page = files["study.md"].decode()
    assert "![The same as a picture](study.png)" in page
    assert "- v18: as it is" in page
    assert "Made by `hydra-ray study mine`" in page


@pytest.mark.parametrize(
    "look",
    [
        {"kind": "dots"},
        {"kind": "scatter_matrix", "columns": ["accuracy", "NLL"]},
        {"kind": "lines", "x": "members", "lines": "width"},
        {"kind": "lines", "x": "members"},
    ],
)
@pytest.mark.parametrize("seeds", [[0], [0, 1, 2]])
def test_every_kind_of_picture_is_drawn_and_the_same_every_time(look, seeds):
    found = results(study(picture=look, seeds=seeds))
    drawn = study_files(found)["study.png"]
    assert drawn.startswith(PNG)
    assert drawn == study_files(found)["study.png"]


def test_rows_keep_off_the_frame_from_above_to_below():
    found = results(study())
    whole = _dots.__wrapped__(found, ["accuracy"])
    (axes,) = whole.axes
    assert axes.get_ylim() == (5.5, -0.5)
