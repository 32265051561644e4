"""A sweep over standard splits by the real commands: a run for each, means and errors, the results page."""

import json
import statistics

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import REPO, Command, events

pytestmark = pytest.mark.timeout(900)
RECIPE = """
data: {source: %s/roots.parquet, target: y, split: all}
ensemble: {num_members: 2, options: {hidden: [8]}, epochs: 2, batch_size: 32}
transfer: {views: [{view: identity}, {view: resample}]}
predict: {rows_per_shard: 500}
students: [hydra]
distill: {epochs: 1, mean_epochs: 1, batch_size: 32, head_width: 2}
evaluate: {latency_repeats: 2, bootstrap_samples: 0}
cluster: {object_store_mb: 100}
"""


def test_all_splits_run_in_one_session_and_are_skipped_when_they_are_done(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(120, 2))
    splits = {f"test_split_{k}": np.arange(120) % 6 == k for k in (0, 1)}
    columns = {"a": x[:, 0], "b": x[:, 1], "y": x[:, 0] ** 0.5 + 0.1 * rng.normal(size=120), **splits}
    pq.write_table(pa.table(columns), tmp_path / "roots.parquet")
    (tmp_path / "tiny.yaml").write_text(RECIPE % tmp_path)
    words = ["pipelines.run", str(tmp_path / "tiny.yaml"), f"storage={tmp_path}/runs"]
    run = Command(words, REPO).finish(timeout=700).require_success()
    folder = tmp_path / "runs" / "tiny"
    assert "split-00 [1/2]" in run.out
    assert "split-01 [2/2]" in run.out
    sweep = json.loads((folder / "sweep.json").read_text())
    each = [json.loads((folder / f"split-0{k}/report/metrics.json").read_text())["test"] for k in (0, 1)]
    for name in ("member", "ensemble", "hydra"):
        values = [found[name]["rmse"] for found in each]
        rmse = sweep["figures"]["test"][name]["rmse"]
        assert rmse["mean"] == pytest.approx(statistics.fmean(values))
        assert rmse["standard_error"] == pytest.approx(statistics.stdev(values) / 2**0.5)
    assert each[0]["ensemble"]["rmse"] != each[1]["ensemble"]["rmse"]
    assert (folder / "split-00/report/plane.png").exists()  # two features: the input plane is drawn
    again = Command(words, REPO).finish().require_success()
    assert [event["event"] for event in events(folder / "split-01")[-4:]] == ["skipped"] * 4
    assert "ensemble" in again.out
    page = Command(["pipelines.results", str(folder)], REPO).finish().require_success().out
    assert "first 2 standard splits" in page
    assert "| roots |" in page
