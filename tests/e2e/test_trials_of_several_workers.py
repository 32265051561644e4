"""tune with Ray Train inside each trial: a session of its own, as it needs Ray's dashboard."""

import pandas as pd
import pytest
from support import Command, copied, events, leftovers, wait_for

pytestmark = [pytest.mark.timeout(400), pytest.mark.slow]


def test_trials_of_two_workers(chain, project, tmp_path):
    chain.require_success()
    folder = copied(project / "runs" / "tiny", tmp_path)
    words = ["tune.workers_per_trial=2", "tune.num_trials=2", "tune.space={head_width: [2, 3]}", "students=[hydra]"]
    before = len(events(folder))
    command = Command(["pipelines.tune", "tiny.yaml", f"storage={tmp_path}", *words], project)
    command.finish().require_success()
    assert command.err == ""
    table = pd.read_parquet(folder / "tune" / "hydra" / "trials.parquet")
    assert len(table) == 2
    assert table["error"].isna().all()
    assert table["validation_nll"].notna().all()
    assert len([each for each in events(folder)[before:] if each["event"] == "trial_epoch"]) >= table["epochs"].sum()
    assert leftovers(folder) == []
    wait_for(lambda: not command.own_processes(), 15, "end of all processes")
