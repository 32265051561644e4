"""Sweeps over standard splits: which runs they stand for, means and errors of their figures, tables."""

import math
import statistics

import numpy as np
import pytest
from helpers.dataset_files import write

from hydra_ray.config.load import load_config
from hydra_ray.config.tree import Config
from hydra_ray.errors import UserError
from hydra_ray.report.results import results_page
from hydra_ray.report.sweep_tables import PUBLISHED, sweep_table, sweeps_section
from hydra_ray.runs.run import Run
from hydra_ray.runs.split_sweep import is_sweep, split_configs, summarise


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

    def config(split) -> Config:
        return load_config(tmp_path / "tiny.yaml", [f"data.test_split={split}", "transfer.views=[{view: identity}]"])

    return config


@pytest.mark.parametrize(("choice", "expected"), [("all", [0, 1, 2, 3]), ("1-2", [1, 2]), ("0-3", [0, 1, 2, 3])])
def test_every_split_is_a_run_of_its_own_in_the_sweeps_folder(config, choice, expected):
    sweep = config(choice)
    assert is_sweep(sweep)
    assert not is_sweep(config(0))
    found = split_configs(sweep)
    assert [each.data.test_split for each in found] == expected
    assert not any(is_sweep(each) for each in found)
    folders = [str(Run(each).folder) for each in found]
    assert [folder.rsplit("/", 3)[1:] for folder in folders] == [["runs", "tiny", f"split-{k:02d}"] for k in expected]
    tests = [Run(each).data.splits["test"].row_ids() for each in found]
    assert [rows[0] for rows in tests] == expected


def test_a_split_in_a_sweep_is_the_run_of_that_split_alone(config):
    alone, swept = Run(config(1)), Run(split_configs(config("all"))[1])
    assert alone.member(0).key == swept.member(0).key
    assert alone.member(0).key != Run(config(2)).member(0).key


@pytest.mark.parametrize(("choice", "expected"), [("2-5", "data.test_split=2-5: there is no column test_split_4")])
def test_splits_that_are_not_there_are_named(config, choice, expected):
    with pytest.raises(UserError) as raised:
        split_configs(config(choice))
    assert expected in str(raised.value)


def test_a_sweep_without_splits_is_refused(config, tmp_path):
    write(tmp_path / "roots.parquet", table(0))
    with pytest.raises(UserError, match="has no columns test_split_0"):
        split_configs(config("all"))


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
    runs = [(k, metrics(value, None if k == 2 else -value)) for k, value in enumerate(rmse)]
    found = summarise(config("all"), runs)
    assert (found["splits"], found["task"]) == ([0, 1, 2, 3], "regression")
    figures = found["figures"]["test"]["ensemble"]
    assert figures["rmse"] == {
        "mean": 3.0,
        "standard_error": pytest.approx(statistics.stdev(rmse) / math.sqrt(4)),
        "num_splits": 4,
    }
    assert figures["nll"]["mean"] == pytest.approx(-2.0)
    assert figures["nll"]["num_splits"] == 3
    assert found["figures"]["fidelity"]["hydra"] == {
        "rmse_ratio": {"mean": 1.0, "standard_error": 0.0, "num_splits": 4}
    }
    assert "seconds" not in found["figures"]
    one = summarise(config("all"), runs[:1])["figures"]["test"]["ensemble"]["rmse"]
    assert one == {"mean": 1.0, "standard_error": None, "num_splits": 1}


def concrete(config) -> dict:
    sweep = summarise(config("all"), [(k, metrics(5.0 + k, 3.0)) for k in range(3)])
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
    kept = {"mean": 0.6702, "standard_error": 0.05, "num_splits": 3}
    lost = {"mean": None, "standard_error": None, "num_splits": 0}
    sweep["figures"]["unknown"] = {"outside": {}}
    sweep["figures"]["fidelity"] = {
        "hydra": {"knowledge_variance_ratio": {"test": kept}, "spearman_knowledge_variance": {"outside": kept}},
        "kd": {"knowledge_variance_ratio": {"test": lost, "outside": lost}},
    }
    section = sweeps_section([sweep])
    assert "| data set | student | ratio, test | rho, test | ratio, outside | rho, outside |" in section
    assert "| concrete | hydra | 0.6702 ± 0.05 | – | – | 0.6702 ± 0.05 |" in section
    assert "| concrete | kd |" not in section
