"""W&B runs of a stage that was interrupted: the next command goes on with them, sent at once or by `wandb sync`.

The server is ours (`helpers/wandb_server.py`); what talks to it is the real W&B.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import wandb
from helpers.records import config, lines
from helpers.wandb_server import wandb_server

from hydra_ray.runs.tracking import Tracker
from hydra_ray.storage.folder import Folder

KEY = "a" * 40
MAKES = ["lineage-of-member-0", "lineage-of-member-1"]


@pytest.fixture
def server(monkeypatch, tmp_path):
    """With an account there, and no settings of the machine's owner."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    with wandb_server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        wandb.teardown()  # W&B reads the environment once a process
        yield server
        wandb.teardown()


@pytest.fixture
def folder(tmp_path):
    return Folder.open(str(tmp_path / "run"))


def train(folder, mode, epochs, makes=MAKES, group=None, fails=False, **changed):
    """A stage and a trial of it, as one command sees it."""

    def work():
        with Tracker(folder, config(mode, **changed), group=group).stage("tune", makes=makes) as stage:
            trial = stage.trial_sink("hydra/trial-003", {"head_width": 8})
            for epoch in epochs:
                stage.figures("epoch", epoch=epoch, loss=1 / (epoch + 1))
                trial.log({"epoch": epoch})
            trial.close()
            if fails:
                raise KeyboardInterrupt

    if fails:
        with pytest.raises(KeyboardInterrupt):
            work()
    else:
        work()


def sync(folder):
    """Run `wandb sync` on all that was written offline."""
    runs = sorted(Path(folder.path).glob("wandb/offline-run-*"))
    words = [sys.executable, "-m", "wandb", "sync", *runs]
    subprocess.run(words, check=True, capture_output=True, text=True, timeout=100)


def curve(server, name):
    """Steps and epochs of the one run of this name."""
    (run,) = [run for run, called in server.names.items() if called == name]
    return [(row["_step"], row["epoch"]) for row in server.history[run]]


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_a_resumed_stage_appends_to_its_run(server, folder, mode):
    train(folder, mode, [0, 1, 2], fails=True)
    train(folder, mode, [2, 3], cluster={"num_workers": 2})
    if mode == "offline":
        sync(folder)
    assert sorted(server.names.values()) == ["tune", "tune/hydra/trial-003"]
    expected = [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3)]
    assert curve(server, "tune") == curve(server, "tune/hydra/trial-003") == expected
    (run,) = [run for run, called in server.names.items() if called == "tune"]
    assert server.exit_codes[run] == [1, 0]
    assert server.configs[run]["cluster.num_workers"]["value"] == 2, "the last command's"


def test_new_work_is_a_new_run(server, folder):
    """Work that was finished, or work on other results."""
    train(folder, "offline", [0])
    train(folder, "offline", [0], fails=True)
    train(folder, "offline", [0], makes=["another-lineage"])
    starts = [line["wandb"] for line in lines(folder) if line["event"] == "start"]
    assert len(set(starts)) == 3


def test_runs_of_a_sweep_share_a_group_when_they_are_synced(server, tmp_path):
    for seed in (0, 1):
        folder = Folder.open(str(tmp_path / f"seed={seed}"))
        train(folder, "offline", [0], group="digits")
        sync(folder)
    assert len(server.groups) == 4
    assert set(server.groups.values()) == {"digits"}


def test_without_wandb_no_id_is_drawn(folder):
    with Tracker(folder, config("off")).stage("tune", makes=MAKES):
        pass
    assert "wandb" not in lines(folder)[0]
