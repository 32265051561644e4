"""Benchmarks run and write their tables; no figure of theirs is tested."""

import json
import os
import subprocess
import sys

import pytest
from support import REPO

from benchmarks.pairs import PAIRED, Pairs, line_through, paired_table, steady_rate
from benchmarks.scale_measures import Growth

pytestmark = pytest.mark.slow

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def run(*words):
    return subprocess.run(
        [sys.executable, *words], cwd=REPO, env=ENVIRONMENT, capture_output=True, text=True, check=True
    ).stdout


def test_one_benchmark_runs_and_writes_its_table(tmp_path):
    out = tmp_path / "results.json"
    printed = run("-m", "benchmarks.run", "--only", "infer", "--quick", "--out", str(out))
    found = json.loads(out.read_text())["infer"]
    [table] = found["tables"]
    assert table["columns"][:2] == ["M", "predictor"]
    assert [row[1] for row in table["rows"]] == ["one member", "ensemble, one by one", "ensemble, stacked", "hydra"]
    assert {"commit", "machine", "processor", "torch", "ray"} <= found["facts"].keys()
    page = out.with_suffix(".md").read_text()
    assert "| M | predictor | parameters |" in page
    assert "no figures to quote" in page
    assert "| M | predictor | parameters |" in printed


def test_what_a_gpu_is_measured_with_runs_on_a_cpu_and_without_ray():
    """Its own checks hold stacked members against those alone."""
    code = "import sys; sys.modules['ray'] = None; sys.argv[0] = 'gpu'; from benchmarks.gpu import main; main()"
    printed = run("-c", code, "--device", "cpu", "--tiny")
    for name in ("ceilings", "checks", "train", "predict", "distill", "infer"):
        assert f"## {name}\n" in printed


def test_a_run_too_large_for_this_machine_is_planned():
    """Shards as `predict` would write them, requests to make them count, and what breaks in order."""
    sizes = ["--row-sizes", "8", "16", "--file-sizes", "8", "16"]
    printed = run("-m", "benchmarks.scale_sim", "--rows", "1e6", "--views", "4", "--worker-gigabytes", "0.5", *sizes)
    assert "1,000,000 rows (4 views) x 50 members, 256 GPUs" in printed
    assert "| shards of the transfer set | 200 of 5,000 rows |" in printed
    assert "| a row | 4092 bytes |" in printed  # 32 x 32 x 3, 50 members of 10 float16, 20 beside
    assert "| requests to write | 1 a shard, 200 |" in printed
    assert "| requests to open for training | 0 a shard, 0 |" in printed
    limits = printed.split("## what breaks, the first first")[1].splitlines()[6:]
    limits = [line.split(" | ") for line in limits if line.startswith("|")]
    assert limits[0][0].startswith("| train_ensemble: training rows")
    assert limits[0][1:3] == ["0.768 GB", "0.5 GB"]
    assert "ends the run" in limits[0][4]
    times = [float(line[3]) for line in limits[1:]]
    assert times == sorted(times, reverse=True)
    assert len(times) > 8


def test_what_grows_is_carried_on_by_the_law_with_which_it_grows():
    sizes = [10, 100, 1000]
    assert Growth(sizes, [0.0, 2.0, 20.0]).at(100_000) == pytest.approx(2000)
    assert Growth(sizes, [1.0, 5.0, 5.0]).at(100_000) == 5
    assert Growth(sizes, [50.0, 51.0, 60.0]).at(2000) == pytest.approx(70)
    assert Growth(sizes, [0.0, 1.0, 100.0]).at(10_000) == pytest.approx(10_000), "by the square"
    assert Growth(sizes, [0.0, 1.0, 100.0]).power == pytest.approx(2)


def test_pairs_are_taken_in_turn_and_compared_by_medians():
    calls = []

    def rate(name, rates):
        left = iter(rates)
        return lambda: calls.append(name) or next(left)

    pairs = Pairs.measure("work", "rows / s", rate("ours", [8.0, 12.0, 10.0]), rate("plain", [10.0, 10.0, 20.0]), 3)
    assert calls == ["ours", "plain"] * 3
    table = paired_table("x", "Title.", [pairs])
    assert dict(zip(PAIRED, table.rows[0], strict=True)) == {
        "what": "work",
        "unit": "rows / s",
        "ours": "10",
        "plain loop": "10",
        "ours / plain": "1.00",
        "in each pair": "0.50 to 1.20",
        "pairs": 3,
    }
    assert "| work | rows / s | 10 | 10 | 1.00 | 0.50 to 1.20 | 3 |" in table.markdown()


def test_rates_and_lines():
    assert steady_rate([2.0, 4.0, 3.0], [7.0, 1.0, 5.0]) == pytest.approx(3.0)
    assert line_through([1.0, 2.0, 4.0], [5.0, 7.0, 11.0]) == pytest.approx((2.0, 3.0))
