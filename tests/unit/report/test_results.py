"""docs/results.md: runs of one recipe in one table, means and spreads of what their metrics.json say."""

import json

import pytest

from hydra_ray.errors import UserError
from hydra_ray.report.results import FinishedRun, results_page
from hydra_ray.storage.folder import Folder


def metrics(nll, auroc):
    figures = {"nll": nll, "accuracy": 0.9, "ece": 0.01}
    unknown = {"auroc_mutual_information": auroc, "auroc_entropy": 0.5}
    return {
        "test": dict.fromkeys(("member", "ensemble", "hydra"), figures),
        "unknown": {"patches": dict.fromkeys(("member", "ensemble", "hydra"), unknown)},
        "fidelity": {"hydra": {"nll_ratio": nll / 0.1, "auroc_ratio": {"patches": auroc}}},
        "cost": {"member": {"macs": 100}, "ensemble": {"macs": 400}, "hydra": {"macs": 118}},
    }


def finished(seed, nll=0.1, auroc=0.9, **recipe):
    config = {"name": f"run-{seed}", "seed": seed, "storage": f"s{seed}", "data": {"source": "digits"}, **recipe}
    return FinishedRun({"ensemble": {"num_members": 4, "architecture": "mlp"}, **config}, metrics(nll, auroc))


def cells(page, name):
    return next(line for line in page.splitlines() if line.startswith(f"| {name} |")).strip("| ").split(" | ")


def test_seeds_of_a_recipe_become_mean_and_standard_deviation():
    page = results_page([finished(0, 0.1, 0.8), finished(1, 0.2, 0.9)], {"machine": "here"}, "the command")
    assert page.count("## ") == 1
    assert "Runs: run-0 (seed 0), run-1 (seed 1)." in page
    assert "`the command`" in page
    assert "machine: here" in page
    hydra = cells(page, "hydra")
    assert hydra[1].startswith("0.1500 ± 0.071")
    assert hydra[4].startswith("0.8500 ± 0.071")
    assert hydra[-1] == "1.18 x"
    assert cells(page, "NLL ratio")[1].startswith("1.5000 ± 0.71")
    assert cells(page, "AUROC ratio, patches")[1].startswith("0.8500 ± 0.071")


def test_recipes_that_differ_have_tables_of_their_own():
    page = results_page([finished(0), finished(1, distill={"epochs": 3})], {}, "command")
    assert page.count("## ") == 2
    assert "Runs: run-0 (seed 0).\n" in page
    assert "Runs: run-1 (seed 1). With `distill.epochs=3`.\n" in page
    assert cells(page, "hydra")[1] == "0.1000"


def test_a_run_without_a_report_is_named(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"name": "x"}))
    with pytest.raises(UserError, match="no finished report there; run `hydra-ray run CONFIG`"):
        FinishedRun.read(Folder.open(str(tmp_path)))
