"""The worked examples of docs/teachers.md, each from its first block to a report, by the real commands."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.blocks import Block, blocks
from support import REPO, Command

PAGE = "docs/teachers.md"
pytestmark = pytest.mark.timeout(900)


def examples() -> list[list[Block]]:
    """Blocks up to each one of commands."""
    found: list[list[Block]] = [[]]
    for block in blocks("python", "yaml", "sh"):
        if block.place.startswith(PAGE) and block.is_run:
            found[-1].append(block)
            if block.language == "sh":
                found.append([])
    return [each for each in found if each and each[-1].language == "sh"]


def file_of(block: Block) -> str | None:
    """Its name stands in the first line, where it is a file and not run."""
    first = block.text.splitlines()[0]
    return first[2:] if first.startswith("# ") and first.endswith((".py", ".yaml")) else None


def done(words: list[str], folder: Path, text: str = "") -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPO), str(folder)])}
    ended = subprocess.run(
        words, input=text, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("example", examples(), ids=lambda example: str(example[0]))
def test_an_example_ends_in_a_report(example, tmp_path):
    pytest.importorskip("skops")
    pytest.importorskip("lightgbm")
    pytest.importorskip("timm")
    for block in example:
        name = file_of(block)
        if name:
            (tmp_path / name).write_text(block.text)
        elif block.language == "python":
            done([sys.executable, "-"], tmp_path, block.text)
    for line in example[-1].text.splitlines():
        module, *words = line.removeprefix("python -m ").split()
        environment = {"PYTHONPATH": os.pathsep.join([str(REPO), str(tmp_path)])}
        more = ["cluster.local=true"] if module == "pipelines.run" else []
        Command([module, *words, *more], tmp_path, environment).finish(600).require_success()
    (report,) = (tmp_path / "runs").glob("*/report/metrics.json")
    predictors = json.loads(report.read_text())["test"]
    assert predictors["hydra"]["accuracy"] > predictors["ensemble"]["accuracy"] - 0.1
