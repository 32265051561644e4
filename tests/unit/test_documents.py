"""What documents and docstrings name is in the repository, and nothing outside of it is needed to follow them."""

import re
import subprocess
from pathlib import Path

import pytest
from support import REPO

FILES = subprocess.run(["git", "ls-files"], cwd=REPO, capture_output=True, text=True, check=True).stdout.split()
SOURCES = re.compile(r"(hydra_ray|pipelines|configs|benchmarks)/.*[.](py|yaml)|.*[.]md")
TEXTS = [name for name in FILES if SOURCES.fullmatch(name)]
NAMED = re.compile(r"(?<![\w/.<-])((?:[\w-]+/)*[\w-]+\.md)\b")
OURS = re.compile(r"`((?:docs|configs|hydra_ray|pipelines|tests|benchmarks)/[\w./-]+\.\w+)`")
WRITTEN_BY_RUNS = {"report.md"}


@pytest.mark.parametrize("name", TEXTS)
def test_what_a_text_names_is_there(name):
    text = (REPO / name).read_text()
    pages = [page for page in NAMED.findall(text) if Path(page).name not in WRITTEN_BY_RUNS]
    missing = [page for page in pages if not (REPO / page).exists() and not (REPO / name).with_name(page).exists()]
    assert missing + [path for path in OURS.findall(text) if not (REPO / path).exists()] == []
    assert not re.search(r"(?<!\.)\.\./(?!docs|README)\w", text), "a path out of the repository"
