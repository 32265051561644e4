"""The tree of README, a phrase a file from its first docstring; `python tests/helpers/tree.py` writes it anew."""

import ast
import re
import textwrap
from pathlib import Path

REPO = Path(__file__).parents[2]
MARK = "<!-- tree: written by python tests/helpers/tree.py -->\n```text\n"
_LENGTH, _COLUMN, _LEAST = 118, 24, 36
"""Of a line; where phrases begin; what a phrase must say at least."""


def rooms() -> list[str]:
    """From the top of the house down, as the test of its architecture holds them."""
    module = ast.parse((REPO / "tests" / "unit" / "test_architecture.py").read_text())
    values = [
        each.value for each in module.body if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "ROOMS"
    ]
    return [room for room in ast.literal_eval(values[0]) if room != "pipelines"]


def phrase(path: Path) -> str:
    """What a module says it is: the first sentence of its docstring."""
    words = " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0].split())
    return re.split(r"(?<!et al)(?<![.])[.](?:\s|$)", words)[0]


def lines_of(folder: Path, depth: int = 1) -> list[str]:
    """The modules of a room and of the folders in it."""
    lines = []
    for path in sorted(folder.glob("*.py")):
        if path.name != "__init__.py":
            lines.append(line("  " * depth + path.stem, phrase(path)))
    for inner in sorted(path for path in folder.iterdir() if (path / "__init__.py").is_file()):
        lines += [line("  " * depth + f"{inner.name}/", phrase(inner / "__init__.py")), *lines_of(inner, depth + 1)]
    return lines


def line(name: str, text: str) -> str:
    """A name and its phrase; one that is too long ends before a semicolon or colon, or goes on below."""
    room = _LENGTH - _COLUMN
    if len(text) > room:
        ends = [found.start() for found in re.finditer(r"[;:] (?![^(]*\))", text) if _LEAST <= found.start() <= room]
        text = text[: ends[-1]] if ends else text
    first, *others = textwrap.wrap(text, room, break_on_hyphens=False)
    return "\n".join([f"{name:<{_COLUMN}}{first}", *(" " * _COLUMN + other for other in others)])


def tree() -> str:
    """All rooms in their order, then what lies beside them."""
    package = REPO / "hydra_ray"
    lines = []
    for room in rooms():
        lines += [line(f"{room}/", phrase(package / room / "__init__.py")), *lines_of(package / room)]
    return "\n".join([*lines, *lines_of(package, 0)[: len(list(package.glob("*.py"))) - 1]]) + "\n"


def written(readme: str) -> str:
    """README with the tree of today."""
    before, after = readme.split(MARK)
    return f"{before}{MARK}{tree()}{after[after.index('```') :]}"


if __name__ == "__main__":
    page = REPO / "README.md"
    page.write_text(written(page.read_text()))
