"""Blocks of commands and code in README and docs, and the mark of those that no test can run."""

import re
from dataclasses import dataclass
from functools import cached_property

from support import REPO

_BLOCK = re.compile(r"^(?:<!-- (?P<mark>.*?) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = "not run: "
NEEDS_RUN = ("runs/digits", "exported/")
"""The run of the demo, and what docs/student.md exports of it."""


@dataclass(frozen=True)
class Block:
    """A fenced block; `mark` is the comment in the line above it."""

    place: str
    language: str
    text: str
    mark: str

    @cached_property
    def is_run(self) -> bool:
        return not self.mark.startswith(NOT_RUN)

    @property
    def needs_run(self) -> bool:
        """Whether it reads the finished run of the demo."""
        return any(place in self.text for place in NEEDS_RUN) and "pipelines" not in self.text

    @property
    def stands_alone(self) -> bool:
        """Whether it needs neither that run nor the blocks above it."""
        return not self.needs_run and not self.place.startswith("docs/teachers.md")

    def __str__(self) -> str:
        return self.place


def pages() -> list[str]:
    """README and every page of docs/."""
    return ["README.md", *sorted(f"docs/{path.name}" for path in (REPO / "docs").glob("*.md"))]


def blocks(*languages: str) -> list[Block]:
    """All blocks of some languages."""
    found = []
    for page in pages():
        text = (REPO / page).read_text()
        for match in _BLOCK.finditer(text):
            line = text[: match.start("text")].count("\n")
            block = Block(f"{page}:{line}", match["language"], match["text"], match["mark"] or "")
            found += [block] if block.language in languages else []
    return found
