"""`hydra-ray teams`: the best teams of a run's members as a table and a picture, from shards alone."""

import shutil

import pytest
import torch

from hydra_ray.evaluation.teams import quality_of_teams
from hydra_ray.shards import load
from hydra_ray.storage import Folder


@pytest.fixture
def run(predicted):
    return predicted.parent / "runs" / "tiny"


def test_teams_are_found_on_validation_rows_and_judged_on_test_rows(run, call):
    code, out, errors = call("teams", run, "--size", 2)
    assert (code, errors) == (0, "")
    assert "Teams of 2 out of 5 members (all 10)" in out
    page = (run / "teams" / "size-2.md").read_text()
    assert (run / "teams" / "size-2.png").read_bytes().startswith(b"\x89PNG")
    lines = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    rows = {line[0]: line[1:] for line in lines[2:]}
    assert list(rows)[:4] == ["accuracy", "NLL", "Q statistic", "focal: Q statistic"]
    splits = {split: load(Folder.open(str(run / "predictions" / split))) for split in ("validation", "test")}
    best = {}
    for split, rows_of in splits.items():
        pairs = [(i, j) for i in range(5) for j in range(i + 1, 5)]
        teams = torch.tensor([[float(k in pair) for k in range(5)] for pair in pairs], dtype=torch.float64)
        found = quality_of_teams(torch.from_numpy(rows_of.logits_NMC), torch.from_numpy(rows_of.labels), teams)
        best[split] = {" ".join(map(str, pair)): nll for pair, nll in zip(pairs, found["nll"].tolist(), strict=True)}
    chosen = min(best["validation"], key=lambda team: best["validation"][team])
    assert rows["NLL"][0] == chosen
    assert rows["NLL"][2] == f"{best['test'][chosen]:.4f}"
    assert rows["all 5 members"][0] == "–"
    assert rows["mean of all teams"][2] == f"{sum(best['test'].values()) / 10:.4f}"


@pytest.mark.parametrize("size", [-1, 0, 1, 5, 6])
def test_a_team_is_a_part_of_the_members(run, refused, size):
    assert refused("teams", run, "--size", size) == f"--size {size}: {run} has 5 members; use 2 to 4"


def test_a_run_that_has_not_predicted_is_refused(tmp_path, refused):
    line = refused("teams", tmp_path / "nowhere", "--size", 2)
    assert line.endswith("nowhere/predictions/validation: no shards there; run the predict stage first")


def test_shards_of_one_split_alone_are_refused(run, refused):
    shutil.rmtree(run / "predictions" / "test")
    assert "predictions/test: no shards there" in refused("teams", run, "--size", 2)
    assert not (run / "teams").exists()
