"""Benchmarks run and write their tables; no figure of theirs is tested."""

import json
import os
import subprocess
import sys

import pytest
from support import REPO

from benchmarks.pairs import PAIRED, Pairs, line_through, paired_table, steady_rate

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
