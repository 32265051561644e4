"""Blocks of README and docs that read the finished run of the demo."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from helpers.blocks import blocks
from helpers.rows_to_answer import write_images
from support import REPO, Command

from hydra_ray.cli import main

pytestmark = pytest.mark.timeout(900)
BLOCKS = [each for each in blocks("python", "sh") if each.is_run and each.needs_run]
APPLIED = [each for each in BLOCKS if each.text.startswith("hydra-ray apply ")]
EXPORTS = [each for each in BLOCKS if each.text.startswith("hydra-ray export ")]
QUERIES = [each for each in BLOCKS if each.language == "sh" and each not in [*EXPORTS, *APPLIED]]


@pytest.fixture
def beside_the_run(demo, tmp_path, monkeypatch):
    """A working directory whose runs/digits is the demo's."""
    (tmp_path / "runs").symlink_to(demo.parent)
    monkeypatch.chdir(tmp_path)


def test_there_are_such_blocks():
    assert {each.place.split(":")[0] for each in BLOCKS} >= {"README.md", "docs/shards.md"}


def run_exports():
    """The commands of the pages that write `exported/`, here."""
    for block in EXPORTS:
        for line in block.text.splitlines():
            assert main(shlex.split(line)[1:]) == 0


def test_exports(beside_the_run, capsys):
    assert EXPORTS
    run_exports()
    assert "validation rows of runs/digits" in capsys.readouterr().out


@pytest.mark.parametrize("block", [each for each in BLOCKS if each.language == "python"], ids=str)
def test_code(block, beside_the_run):
    if "exported/" in block.text:
        run_exports()
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    words = [sys.executable, "-"]
    done = subprocess.run(words, input=block.text, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("block", QUERIES, ids=str)
def test_queries(block, beside_the_run):
    """duckdb's own program is not among the packages; its library reads the same query."""
    queries = re.findall(r'^duckdb -c "(.*)"$', block.text, re.MULTILINE)
    assert len(queries) == len(block.text.splitlines())
    assert all(duckdb.sql(query).fetchall() for query in queries)


def test_answers_about_images_and_a_query_of_them(beside_the_run):
    (block,) = APPLIED
    apply, query = block.text.splitlines()
    write_images(Path("images"))
    Command(["pipelines.apply", *apply.split()[2:]], Path.cwd()).finish().require_success()
    assert duckdb.sql(re.fullmatch(r'duckdb -c "(.*)"', query)[1]).fetchall()
