"""Sweeps: which runs they stand for, means and deviations of their figures, tables."""

import csv
import io
import math
import statistics

import numpy as np
import pytest
from helpers.dataset_files import write

from hydra_ray.config.load import load_config
from hydra_ray.config.tree import Config
from hydra_ray.errors import UserError
from hydra_ray.report.results import results_page
from hydra_ray.report.sweep_tables import PUBLISHED, sweep_files, sweep_table, sweeps_section
from hydra_ray.runs.run import Run
from hydra_ray.runs.sweep import Sweep, read_sweep, summarise, sweep_of
from hydra_ray.storage import Folder, sealed


def table(num_splits: int) -> dict:
    number = np.arange(40)
    splits = {f"test_split_{k}": number % 10 == k for k in range(num_splits)}
    return {"x": number / 40, "y": number**0.5, **splits}


@pytest.fixture
def config(tmp_path):
    write(tmp_path / "roots.parquet", table(4))
    (tmp_path / "tiny.yaml").write_text(
        f"storage: {tmp_path}/runs\ndata: {{source: {tmp_path}/roots.parquet, target: y}}"
    )

    def config(split, *words) -> Config:
        given = [f"data.test_split={split}", "transfer.views=[{view: identity}]", *words]
        return load_config(tmp_path / "tiny.yaml", given)

    return config


def asked(config, choice, *each) -> Sweep:
    """What a command with these splits and `--each` words asks for."""
    found = sweep_of(each, lambda words: config(choice, *words))
    assert found is not None
    return found


@pytest.mark.parametrize(("choice", "expected"), [("all", [0, 1, 2, 3]), ("1-2", [1, 2]), ("0-3", [0, 1, 2, 3])])
def test_every_split_is_a_run_of_its_own_in_the_sweeps_folder(config, choice, expected):
    found = asked(config, choice).runs
    assert [each.data.test_split for each in found] == expected
    folders = [str(Run(each).folder) for each in found]
    assert [folder.rsplit("/", 3)[1:] for folder in folders] == [["runs", "tiny", f"split-{k:02d}"] for k in expected]
    tests = [Run(each).data.splits["test"].row_ids() for each in found]
    assert [rows[0] for rows in tests] == expected


def test_a_split_in_a_sweep_is_the_run_of_that_split_alone(config):
    alone, swept = Run(config(1)), Run(asked(config, "all").runs[1])
    assert alone.member(0).key == swept.member(0).key
    assert alone.member(0).key != Run(config(2)).member(0).key


@pytest.mark.parametrize(("choice", "expected"), [("2-5", "data.test_split=2-5: there is no column test_split_4")])
def test_splits_that_are_not_there_are_named(config, choice, expected):
    with pytest.raises(UserError) as raised:
        asked(config, choice)
    assert expected in str(raised.value)


def test_a_sweep_without_splits_is_refused(config, tmp_path):
    write(tmp_path / "roots.parquet", table(0))
    with pytest.raises(UserError, match="has no columns test_split_0"):
        asked(config, "all")


def metrics(rmse: float, nll: float | None, kept: float = 1.0) -> dict:
    test = {name: {"rmse": rmse, "nll": nll, "crps": 0.5, "coverage_95": 0.95} for name in ("member", "ensemble")}
    return {
        "schema": 1,
        "task": "regression",
        "test": test,
        "fidelity": {"hydra": {"rmse_ratio": kept, "interval_95": {"rmse_ratio": [0.9, 1.1]}}},
        "seconds": {"evaluate": 3.0},
    }


def test_means_and_standard_errors_are_those_over_the_splits_that_have_the_figure(config):
    rmse = [1.0, 2.0, 6.0, 3.0]
    runs = [metrics(value, None if k == 2 else -value) for k, value in enumerate(rmse)]
    found = summarise(asked(config, "all"), runs)
    assert (found["task"], found["repeated"], found["spread"]) == ("regression", ["data.test_split"], "standard_error")
    (group,) = found["groups"]
    assert (group["settings"], group["runs"]) == ({}, [f"split-0{k}" for k in range(4)])
    figures = group["figures"]["test"]["ensemble"]
    assert figures["rmse"] == {
        "mean": 3.0,
        "deviation": pytest.approx(statistics.stdev(rmse)),
        "standard_error": pytest.approx(statistics.stdev(rmse) / math.sqrt(4)),
        "num_runs": 4,
    }
    assert figures["nll"]["mean"] == pytest.approx(-2.0)
    assert figures["nll"]["num_runs"] == 3
    assert group["figures"]["fidelity"]["hydra"] == {
        "rmse_ratio": {"mean": 1.0, "deviation": 0.0, "standard_error": 0.0, "num_runs": 4}
    }
    assert "seconds" not in group["figures"]
    alone = summarise(asked(config, "0-1", "data.test_split=2"), runs[:1])["groups"][0]
    one = alone["figures"]["test"]["ensemble"]["rmse"]
    assert one == {"mean": 1.0, "deviation": None, "standard_error": None, "num_runs": 1}


def concrete(config) -> dict:
    sweep = summarise(asked(config, "0-2"), [metrics(5.0 + k, 3.0) for k in range(3)])
    sweep["config"]["data"]["source"] = "data/uci/concrete.parquet"
    return sweep


def test_the_table_has_a_line_for_each_predictor(config):
    found = sweep_table(concrete(config))
    assert found.title == "Test rows, mean ± standard error over 3 splits"
    assert found.columns == ("predictor", "RMSE", "NLL", "CRPS", "coverage of 95 %")
    assert found.rows[1] == ("ensemble", "6.000 ± 0.58", "3.0000 ± 0", "0.5000 ± 0", "95.0 % ± 0 %")


def test_the_page_shows_published_figures_beside_ours(config):
    page = results_page([], {}, "command", [concrete(config)])
    assert "## UCI regression" in page
    assert "first 3 standard splits" in page
    line = next(line for line in page.splitlines() if line.startswith("| concrete |"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:3] == ["6.000 ± 0.58", "6.000 ± 0.58"]
    assert [float(cell) for cell in cells[3:]] == [
        PUBLISHED["concrete"][name]["rmse"] for name in ("ensemble", "Hydra", "DLF")
    ]


def test_a_data_set_nobody_published_has_dashes(config):
    sweep = concrete(config)
    sweep["config"]["data"]["source"] = "yacht.parquet"
    assert "| yacht | 6.000 ± 0.58 | 6.000 ± 0.58 | – | – | – |" in sweeps_section([sweep])


def test_the_page_says_how_much_disagreement_students_keep(config):
    sweep = concrete(config)
    kept = {"mean": 0.6702, "standard_error": 0.05, "num_runs": 3}
    lost = {"mean": None, "standard_error": None, "num_runs": 0}
    sweep["groups"][0]["figures"]["unknown"] = {"outside": {}}
    sweep["groups"][0]["figures"]["fidelity"] = {
        "hydra": {"knowledge_variance_ratio": {"test": kept}, "spearman_knowledge_variance": {"outside": kept}},
        "kd": {"knowledge_variance_ratio": {"test": lost, "outside": lost}},
    }
    section = sweeps_section([sweep])
    assert "| data set | student | ratio, test | rho, test | ratio, outside | rho, outside |" in section
    assert "| concrete | hydra | 0.6702 ± 0.05 | – | – | 0.6702 ± 0.05 |" in section
    assert "| concrete | kd |" not in section


def test_every_combination_of_values_is_a_run(config):
    found = asked(config, 0, "seed=0,1", "distill.temperature=1,2.5")
    assert [each.name for each in found.runs] == [
        "seed=0,temperature=1", "seed=0,temperature=2.5", "seed=1,temperature=1", "seed=1,temperature=2.5"
    ]  # fmt: skip
    assert [(each.seed, each.distill.temperature) for each in found.runs] == [(0, 1), (0, 2.5), (1, 1), (1, 2.5)]
    assert {each.storage.rpartition("/")[2] for each in found.runs} == {"tiny"}


def test_values_may_be_names_lists_and_options(config):
    found = asked(config, 0, "ensemble.options={hidden: [4]},{hidden: [8, 8]}", "ensemble.optimizer=sgd,adamw")
    assert [each.ensemble.options for each in found.runs[::2]] == [{"hidden": [4]}, {"hidden": [8, 8]}]
    assert [each.name for each in found.runs] == [
        f"options=hidden-{hidden},optimizer={name}" for hidden in ("4", "8-8") for name in ("sgd", "adamw")
    ]


def test_keys_of_one_last_word_are_told_apart_by_the_whole_key(config):
    found = asked(config, 0, "ensemble.epochs=1", "distill.epochs=2,3")
    assert [each.name for each in found.runs] == [f"ensemble.epochs=1,distill.epochs={n}" for n in (2, 3)]


def test_splits_and_seeds_go_together(config):
    found = asked(config, "0-1", "seed=3,4")
    assert [each.name for each in found.runs] == [f"seed={seed},split-0{k}" for seed in (3, 4) for k in (0, 1)]
    assert asked(config, 0, "data.test_split=0-1").runs == asked(config, "0-1").runs


def test_one_run_is_no_sweep(config):
    assert sweep_of([], lambda words: config(0, *words)) is None


@pytest.mark.parametrize(
    ("each", "expected"),
    [
        (["seed"], "--each seed: is not key=value,value"),
        (["seed="], "--each seed=: is not key=value,value"),
        (["seed=[0,"], "--each seed=[0,: is not key=value,value"),
        (["seed=0", "seed=1"], "--each: seed stands there twice"),
        (["seed=0,1,1"], "--each: two runs would have the folder seed=1"),
        (["name=a,b"], "--each name=a,b: every run has a folder of its own"),
        (["seed=0,-1"], "command line: seed=-1"),
        (["sed=0,1"], "command line: sed=0: unknown key; nearest: seed"),
        (["data.source=" + "a" * 100], "is too long for a folder's name"),
    ],
)
def test_what_makes_no_sweep_is_refused(config, each, expected):
    with pytest.raises(UserError) as raised:
        asked(config, 0, *each)
    assert expected in str(raised.value)


def seeds_and_temperatures(config) -> dict:
    sweep = asked(config, 0, "seed=0,1,2", "distill.temperature=1,2")
    return summarise(sweep, [metrics(5.0 + place, 3.0 + place % 2, 0.9) for place in range(6)])


def test_means_are_taken_over_seeds_for_each_setting(config):
    found = seeds_and_temperatures(config)
    assert [group["settings"] for group in found["groups"]] == [{"distill.temperature": 1}, {"distill.temperature": 2}]
    assert found["groups"][1]["runs"] == [f"seed={seed},temperature=2" for seed in range(3)]
    table = sweep_table(found)
    assert table.title == "Test rows, mean ± standard deviation over 3 seeds"
    assert table.columns[:4] == ("distill.temperature", "predictor", "RMSE", "NLL")
    assert table.rows[0][:4] == ("1", "member", "7.000 ± 2", "3.0000 ± 0")
    assert table.rows[3][:4] == ("2", "ensemble", "8.000 ± 2", "4.0000 ± 0")


def test_the_table_is_written_as_markdown_csv_and_latex(config):
    files = {name: content.decode() for name, content in sweep_files(seeds_and_temperatures(config)).items()}
    assert "| 2 | ensemble | 8.000 ± 2 | 4.0000 ± 0 |" in files["sweep.md"]
    assert "2 & ensemble & 8.000 $\\pm$ 2 & 4.0000 $\\pm$ 0 &" in files["sweep.tex"]
    assert files["sweep.tex"].count("\\\\\n") == 5  # a line of headings, two predictors under two settings
    rows = list(csv.DictReader(io.StringIO(files["sweep.csv"])))
    assert [(row["distill.temperature"], row["predictor"], row["num_runs"]) for row in rows[2:]] == [
        ("2", "member", "3"),
        ("2", "ensemble", "3"),
    ]
    assert (float(rows[3]["test.rmse_mean"]), float(rows[3]["test.rmse_deviation"])) == (8.0, 2.0)


def test_a_sweep_of_an_older_version_says_what_writes_it_anew(tmp_path):
    folder = Folder.open(str(tmp_path))
    assert read_sweep(folder) is None
    folder.write_json("sweep.json", sealed({"schema": 1, "figures": {}}))
    with pytest.raises(UserError, match="the sweep's command writes it anew"):
        read_sweep(folder)
