"""Commands in this process, which must not start Ray: their exit code and what they print."""

import shutil

import pytest
from helpers.finished import loaded, publish_members, publish_shards, recipe

from hydra_ray.cli import main


@pytest.fixture(autouse=True)
def no_ray(monkeypatch):
    """Starting Ray, connecting to it, or beginning a stage without it fails the test."""

    def started(*_, **__):
        raise AssertionError("work has begun")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("hydra_ray.cluster.pipeline.session", started)
    monkeypatch.setattr("hydra_ray.cluster.pipeline._function_of", lambda stage: started)


@pytest.fixture
def path(tmp_path):
    """A recipe of five members; nothing has run."""
    return recipe(tmp_path)


@pytest.fixture(scope="module")
def five_members(tmp_path_factory):
    """Five members and their shards; to be copied."""
    folder = tmp_path_factory.mktemp("five")
    run = loaded(recipe(folder))
    publish_members(run)
    publish_shards(run)
    return folder / "runs"


@pytest.fixture
def predicted(path, five_members):
    """A recipe of five members whose shards are there."""
    shutil.copytree(five_members, path.parent / "runs")
    return path


@pytest.fixture
def call(capsys):
    """A subcommand of `hydra-ray`, in this process: exit code, output, errors."""

    def call(stage, *words):
        code = main([stage, *map(str, words)])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def refused(call):
    """The line of a command that must fail by a mistake of the user's."""

    def refused(stage, *words) -> str:
        code, _, errors = call(stage, *words)
        assert code == 2, errors
        assert errors.startswith("error: ")
        assert errors.count("\n") == 1
        assert "Traceback" not in errors
        return errors.removeprefix("error: ").rstrip("\n")

    return refused
