"""Finished results of another seed, or of other data, are replaced only where the user says so."""

import contextlib
import os
import pty
import subprocess
import sys

import pytest
from support import REPO

pytestmark = pytest.mark.slow

STALE = "0/5 members done, 5 redone because seed: 0 -> 1"


@pytest.fixture
def finished(predicted, call):
    """A recipe of five members that a command has found finished, so that its configuration is there."""
    assert call("train-ensemble", predicted)[0] == 0
    return predicted


@pytest.mark.parametrize("command", ["run", "train-ensemble", "distill"])
def test_another_seed_is_refused_where_nobody_can_be_asked(finished, refused, command):
    before = (finished.parent / "runs/tiny/config.json").read_bytes()
    text = refused(command, finished, "seed=1")
    assert "holds finished results of seed=0, which seed=1 would replace" in text
    assert "name=" in text
    assert "--redo" in text
    assert (finished.parent / "runs/tiny/config.json").read_bytes() == before


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("data.source=spirals", "data.source=digits, which data.source=spirals would"),
        ("data.source=diabetes", "data.source=digits, which data.source=diabetes would"),
    ],
)
def test_other_data_are_refused_too(finished, refused, word, expected):
    assert expected in refused("train-ensemble", finished, word, "students=[hydra]")


@pytest.mark.parametrize("words", [["ensemble.learning_rate=0.5"], ["seed=1", "name=other"], ["seed=1", "--redo"]])
def test_other_keys_other_names_and_redo_go_on(finished, words, call, monkeypatch):
    began = []
    monkeypatch.setattr("hydra_ray.cluster.pipeline._Chain._find_place", lambda chain, *_: began.append(1) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        call("train-ensemble", finished, *words)
    assert began


def test_the_same_data_under_another_path_are_the_same_data(finished, call):
    folder = finished.parent / "runs" / "tiny"
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"digits"', '"somewhere/digits"'))
    assert call("train-ensemble", finished)[0] == 0


def test_a_plan_says_that_the_command_would_ask(finished, call):
    code, out, _ = call("plan", finished, "seed=1")
    assert code == 0
    assert "holds finished results of seed=0, which seed=1 would replace: `run` asks first, or takes --redo" in out
    assert STALE in out


@pytest.mark.parametrize(("answer", "expected"), [("", "say --redo"), ("yes", "needs 1000 CPUs")])
def test_on_a_terminal_the_user_is_asked(finished, answer, expected):
    """With more workers than CPUs, a command that goes on ends before it starts any."""
    driver, terminal = pty.openpty()
    words = ["-m", "pipelines.train_ensemble", str(finished), "seed=1", "cluster.num_workers=2"]
    process = subprocess.Popen(
        [sys.executable, *words, "cluster.cpus_per_worker=500"], cwd=REPO, stdin=terminal, stdout=terminal,
        stderr=terminal,
    )  # fmt: skip
    os.write(driver, f"{answer}\n".encode())
    assert process.wait(120) == 2
    os.close(terminal)
    text = shown(driver)
    assert "would replace. Replace them? [y/N]" in text
    assert expected in text


def shown(driver: int) -> str:
    """All that was written to a terminal that nothing holds open any more."""
    found = b""
    with contextlib.suppress(OSError), open(driver, "rb", buffering=0) as stream:
        while part := stream.read(10_000):
            found += part
    return found.decode()
