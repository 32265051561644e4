"""What stands beside figures, on machines with git and without."""

import subprocess

import pytest

from hydra_ray.runs.provenance import software_facts


def test_the_commit_is_gits(tmp_path):
    named = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    assert software_facts()["commit"] == (named.stdout.strip() or "not a git checkout")


@pytest.mark.parametrize("there", [False, True], ids=["no git", "one that cannot be started"])
def test_without_git_there_is_no_commit_and_no_error(tmp_path, monkeypatch, there):
    if there:
        (tmp_path / "git").write_text("no program")
        (tmp_path / "git").chmod(0o644)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert software_facts()["commit"] == "not a git checkout"
