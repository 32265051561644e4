"""W&B's key comes from the environment and goes nowhere: not into the run folder, the output, or Ray's logs."""

import secrets
import shutil
import tempfile
from pathlib import Path

import pytest
from helpers.wandb_files import offline_runs
from support import Command, events

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]
KEY = secrets.token_hex(20)


def holding(folder: Path, text: str) -> list[str]:
    """Files below a folder that hold a text."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


@pytest.fixture
def temporary():
    """Where Ray's private session has its logs; a short path, as sockets lie in it."""
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def test_the_key_is_nowhere(project, tmp_path, temporary):
    """Stages of Ray's workers, a search, and a command that fails."""
    environment = {
        "WANDB_API_KEY": KEY,
        "WANDB_MODE": "offline",
        "WANDB_CONFIG_DIR": str(tmp_path / "wandb"),
        "WANDB_CACHE_DIR": str(tmp_path / "wandb"),
        "RAY_TMPDIR": str(temporary),
    }
    words = ["pipelines.run", "tiny.yaml", f"storage={tmp_path}", "tracking.wandb=online"]
    fast = ["tune.num_trials=1", "tune.epochs=1", "ensemble.num_members=2", "ensemble.epochs=1", "distill.epochs=1"]
    fast += ["students=[{kind: hydra, num_heads: 2}]", "tune.space={head_width: [2, 4]}"]
    done = Command([*words, *fast, "distill.mean_phase_epochs=0"], project, environment).finish(500).require_success()
    broken = ["name=broken", "ensemble.architecture=own_nets:failing_mlp"]
    failed = Command([*words, *broken, "cluster.local=false"], project, environment).finish(300)
    assert failed.code == 1

    for text in (done.out, done.err, failed.out, failed.err):
        assert KEY not in text
    assert len(list(temporary.rglob("*.log"))) > 4, "Ray's logs"
    assert (tmp_path / "broken" / "error.log").exists()
    assert holding(tmp_path, KEY) == holding(temporary, KEY) == []

    stages = {event["stage"] for event in events(tmp_path / "tiny", event="start")}
    assert stages < set(offline_runs(tmp_path / "tiny")), "they are there to be synced"


def test_there_is_no_place_for_a_key_in_a_recipe(project):
    refused = Command(["pipelines.run", "tiny.yaml", f"tracking.api_key={KEY}", "--plan"], project).finish(100)
    assert refused.code == 2
    assert KEY not in refused.out + refused.err
