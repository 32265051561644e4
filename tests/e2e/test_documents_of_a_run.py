"""Blocks of README and docs that read the finished run of the demo."""

import os
import re
import subprocess
import sys

import duckdb
import pytest
from helpers.blocks import blocks
from support import REPO

pytestmark = pytest.mark.timeout(900)
BLOCKS = [each for each in blocks("python", "sh") if each.is_run and each.needs_run]


@pytest.fixture
def beside_the_run(demo, tmp_path, monkeypatch):
    """A working directory whose runs/digits is the demo's."""
    (tmp_path / "runs").symlink_to(demo.parent)
    monkeypatch.chdir(tmp_path)


def test_there_are_such_blocks():
    assert {each.place.split(":")[0] for each in BLOCKS} >= {"README.md", "docs/shards.md"}


@pytest.mark.parametrize("block", [each for each in BLOCKS if each.language == "python"], ids=str)
def test_code(block, beside_the_run):
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    words = [sys.executable, "-"]
    done = subprocess.run(words, input=block.text, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("block", [each for each in BLOCKS if each.language == "sh"], ids=str)
def test_queries(block, beside_the_run):
    """duckdb's own program is not among the packages; its library reads the same query."""
    queries = re.findall(r'^duckdb -c "(.*)"$', block.text, re.MULTILINE)
    assert len(queries) == len(block.text.splitlines())
    assert all(duckdb.sql(query).fetchall() for query in queries)
