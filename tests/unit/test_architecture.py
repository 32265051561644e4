"""Rules of the house that a machine can hold: Ray at the edge, short functions and files, a docstring in each."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
MODULES = sorted(path for package in ("hydra_ray", "pipelines") for path in (REPO / package).rglob("*.py"))
EDGE = (REPO / "hydra_ray" / "cli", REPO / "hydra_ray" / "cluster", REPO / "pipelines")
FRONT_DOOR = REPO / "hydra_ray" / "__init__.py"
ROOMS = (
    "pipelines", "cli", "cluster", "report", "runs", "evaluation", "inference", "training", "tasks", "losses",
    "metrics", "teachers", "shards", "models", "views", "data", "storage", "config",
)  # fmt: skip
"""From the top of the house down: a room imports those below it and itself."""
FORBIDDEN = ("eval", "exec", "pickle.load", "pickle.loads", "torch.load")
ONLY_WHERE_TRUSTED = {("states.py", "torch.load"): "weights_only=not trust"}
"""Somebody's own checkpoints: nothing but tensors is unpickled, or `trust` is said."""
MAX_FUNCTION_LINES, MAX_FILE_LINES = 60, 350

each_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(REPO)))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imported(tree: ast.AST) -> set[str]:
    """First parts of the modules that are imported anywhere in a tree, also by importlib."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module or "")
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            names |= {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
    return {str(name).split(".")[0] for name in names}


def test_there_are_modules():
    assert len(MODULES) > 40


@each_module
def test_ray_is_imported_at_the_edge_alone(path):
    if not any(path.is_relative_to(edge) for edge in EDGE):
        assert "ray" not in imported(tree_of(path)), f"{path}: only the edge may import ray: {EDGE}"


def room_of(module: str) -> str:
    """`hydra_ray.config.tree` -> `config`; what lies beside the rooms is open to all, and its own name."""
    parts = module.split(".")
    return parts[1] if parts[0] == "hydra_ray" and len(parts) > 1 else parts[0]


def test_every_folder_is_a_room():
    folders = {path.name for path in (REPO / "hydra_ray").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(ROOMS) - {"pipelines"}


@each_module
def test_no_room_imports_one_above_it(path):
    own = room_of(".".join(path.relative_to(REPO).with_suffix("").parts))
    for node in ast.walk(tree_of(path)):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            if own in ROOMS and room_of(name) in ROOMS and name.startswith(("hydra_ray", "pipelines")):
                assert ROOMS.index(room_of(name)) >= ROOMS.index(own), f"{path}:{node.lineno}: {own} imports {name}"
            elif own not in ROOMS and path != FRONT_DOOR:
                assert room_of(name) not in ROOMS, f"{path}:{node.lineno}: below all rooms, imports {name}"


@pytest.mark.parametrize("room", [room for room in ROOMS if room != "pipelines"])
def test_a_room_says_in_two_sentences_what_belongs_in_it(room):
    words = ast.get_docstring(tree_of(REPO / "hydra_ray" / room / "__init__.py")) or ""
    assert 60 < len(words) < 400


@each_module
def test_a_module_opens_with_what_it_is(path):
    assert ast.get_docstring(tree_of(path))


@each_module
def test_files_and_functions_are_short(path):
    lines = path.read_text().count("\n")
    assert lines <= MAX_FILE_LINES, f"{path}: {lines} lines"
    for node in ast.walk(tree_of(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{path}:{node.lineno}: {node.name} has {length} lines"


@each_module
def test_nothing_is_evaluated_or_unpickled(path):
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if (path.name, name) in ONLY_WHERE_TRUSTED:
                assert ONLY_WHERE_TRUSTED[path.name, name] in ast.unparse(node), f"{path}:{node.lineno}"
                continue
            assert name not in FORBIDDEN, f"{path}:{node.lineno}: {name}"


def test_most_functions_are_shorter_still():
    lengths = [
        (node.end_lineno or 0) - node.lineno + 1
        for path in MODULES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef)
    ]
    assert sorted(lengths)[len(lengths) // 2] < 15


def test_what_is_not_the_edge_imports_without_ray():
    """Also through others: importing every module outside the edge leaves ray out."""
    outside = [path for path in MODULES if not any(path.is_relative_to(edge) for edge in EDGE)]
    names = [".".join(path.relative_to(REPO).with_suffix("").parts).removesuffix(".__init__") for path in outside]
    check = f"import importlib, sys; [importlib.import_module(n) for n in {names}]; print('ray' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", check], cwd=REPO, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


@each_module
def test_a_line_assigns_once_and_calls_what_it_names(path):
    """`a, b = b, a` swaps, and `a, b = f()` unpacks; `a, b = 1, 2` are two lines."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            assert not isinstance(node.func, ast.IfExp), f"{path}:{node.lineno}: a condition is called"
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
            targets = [ast.unparse(each) for each in node.targets if isinstance(each, ast.Tuple)]
            swapped = ast.unparse(node.value)
            is_swap = any(
                sorted(each.strip("()").split(", ")) == sorted(swapped.strip("()").split(", ")) for each in targets
            )
            assert not targets or is_swap, f"{path}:{node.lineno}: assigns twice in a line"


def test_modules_name_files_that_are_there():
    """In backticks, by the end of their path."""
    there = [f"/{path.relative_to(REPO)}" for path in REPO.rglob("*.py") if ".venv" not in path.parts]
    for path in MODULES:
        for named in re.findall(r"`([\w/]+\.py)`", path.read_text()):
            assert any(each.endswith(f"/{named}") for each in there), f"{path}: there is no {named}"


def test_no_two_test_files_have_one_name():
    """pytest imports them by their name alone."""
    names = [path.name for path in (REPO / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
