"""Commands print on every terminal: ASCII, narrow, a pipe, closed or full; errors are one line there too."""

import io
import os
import subprocess
import sys

import pytest
from rich.table import Table
from support import REPO

from hydra_ray.cli import terminal

pytestmark = pytest.mark.slow

RECIPE = "data: {source: digits, unknown: {}}\nensemble: {num_members: 2}\n"
TERMINALS = [
    {"PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "C", "LANG": "C"},
    {"COLUMNS": "40", "TERM": "dumb", "NO_COLOR": "1"},
    {"PYTHONIOENCODING": "latin-1"},
]


def plan(folder, environment, *words, shell=""):
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    return subprocess.run(
        ["bash", "-c", f'"$@" {shell}', "-", sys.executable, "-m", "pipelines.run", *words, "--plan"],
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(REPO), **environment},
        capture_output=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("environment", TERMINALS, ids=lambda each: next(iter(each)))
def test_a_plan_and_an_error_in_a_folder_with_umlauts_and_spaces(tmp_path, environment):
    folder = tmp_path / "größe 数 und Maß"
    folder.mkdir()
    (folder / "mine.yaml").write_text(RECIPE)
    done = plan(folder, environment, "mine.yaml", f"storage={folder}/läufe")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"run folder" in done.stdout
    assert b"train_ensemble" in done.stdout
    refused = plan(folder, environment, "mine.yaml", f"storage={folder}/mine.yaml/ü")
    assert refused.returncode == 2
    assert refused.stderr.startswith(b"error: storage=")
    assert refused.stderr.count(b"\n") == 1


def test_names_that_python_was_told_are_ascii(tmp_path):
    (tmp_path / "mine.yaml").write_text(RECIPE)
    ascii_alone = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert plan(tmp_path, ascii_alone, "mine.yaml").returncode == 0
    refused = plan(tmp_path, ascii_alone, "mine.yaml", "storage=läufe")
    assert refused.returncode == 2
    assert b"set PYTHONUTF8=1" in refused.stderr
    assert refused.stderr.count(b"\n") == 1


@pytest.mark.parametrize(("shell", "code"), [(">&-", 0), ("2>&-", 0), ("| head -0", 0), (">/dev/full", 2)])
def test_a_stream_that_is_closed_or_full(tmp_path, shell, code):
    (tmp_path / "mine.yaml").write_text(RECIPE)
    done = plan(tmp_path, {}, "mine.yaml", shell=shell)
    assert done.returncode == code
    assert b"Traceback" not in done.stderr
    assert done.stderr.count(b"\n") == (1 if code else 0)


def test_a_working_directory_that_is_gone(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(RECIPE)
    done = subprocess.run(
        ["bash", "-c", 'rmdir "$PWD" && exec "$@"', "-", sys.executable, "-m", "pipelines.run", str(recipe), "--plan"],
        cwd=gone,
        env={**os.environ, "PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, "error: the working directory is gone: cd to one that is there\n")


class Narrow(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("columns", "is_a_table"), [(100, True), (40, False), (20, False)])
def test_a_table_on_a_narrow_terminal_is_a_list(monkeypatch, columns, is_a_table):
    table = Table("", "accuracy", "knowledge\nuncertainty", "parameters", "milliseconds")
    table.add_row("ensemble", "98.39 %", "0.04913", "1,993,000", "12.5")
    table.add_row("hydra", "98.21 %", "0.04801", "131,000", "0.8")
    screen = Narrow()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    terminal.show(table)
    shown = screen.getvalue()
    for value in ("98.39 %", "0.04913", "1,993,000", "0.8", "hydra"):
        assert value in shown
    assert ("  knowledge uncertainty: 0.04913\n" in shown) == (not is_a_table)
