"""A user's own architecture is part of the keys: by its module's text and by what its network answers (case 13)."""

import importlib
import sys

import pytest
from helpers.finished import RECIPE, loaded, publish_members, recipe

from hydra_ray.models import own_code

NETS = """
import torch
from torch import nn
from hydra_ray.models import Network
from {helper} import ACT
def small(input_shape, num_outputs, *, width=4):
    h, w, c = input_shape
    body = nn.Sequential(nn.Flatten(), nn.Linear(h * w * c, width), ACT())
    return Network(body, nn.Linear(width, num_outputs), width)
"""
STUBBORN = """
class ACT(nn.Module):
    def forward(self, x):
        return x @ torch.ones(4, 4)
"""


@pytest.fixture
def edit(tmp_path, monkeypatch):
    """Writes the user's module and the one it imports, as they are in a new process."""
    monkeypatch.syspath_prepend(tmp_path)
    names = [f"nets_{tmp_path.name}", f"helper_{tmp_path.name}"]

    def edit(act="ReLU", text=""):
        (tmp_path / f"{names[1]}.py").write_text(f"import torch\nfrom torch import nn\nACT = nn.{act}\n{text}")
        (tmp_path / f"{names[0]}.py").write_text(NETS.format(helper=names[1]))
        for name in names:
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        for pyc in tmp_path.glob("__pycache__/*"):
            pyc.unlink()
        own_code._code.cache_clear()
        return f"{names[0]}:small"

    yield edit
    for name in names:
        sys.modules.pop(name, None)


def code(architecture) -> str | None:
    return own_code.code_of(architecture, (8, 8, 1), 10, {"width": 4})


def test_the_same_function_has_the_same_code(edit):
    first = code(edit())
    assert first == code(edit())
    assert code("mlp") is None


@pytest.mark.parametrize("act", ["Sigmoid", "Tanh", "Dropout"])
def test_an_edit_of_what_it_imports_shows_in_answers_or_layers(edit, act):
    """The text of the function's own module is the same."""
    assert code(edit()) != code(edit(act))


def test_an_edit_of_its_text_shows(edit, tmp_path):
    first = code(edit())
    architecture = edit()
    path = next(tmp_path.glob("nets_*.py"))
    path.write_text(path.read_text() + "\n# another initialisation\n")
    assert code(architecture) != first


def test_a_network_that_takes_float32_alone_has_a_code_too(edit):
    codes = {code(edit(text=STUBBORN)) for _ in range(2)}
    assert len(codes) == 1
    assert codes != {code(edit())}


@pytest.mark.parametrize("architecture", ["no_such_module:f", "os:getcwd", "os:nothing"])
def test_what_cannot_be_built_is_left_to_the_check_of_architectures(architecture):
    assert code(architecture) == "cannot be built"


def test_members_and_students_are_stale_after_an_edit(edit, tmp_path):
    text = RECIPE.replace("options: {hidden: [4]}", f"architecture: '{edit()}', options: {{width: 4}}")
    path = recipe(tmp_path, text)
    publish_members(loaded(path))
    assert all(member.is_done for member in loaded(path).members())
    edit("Sigmoid")
    member = loaded(path).member(0)
    assert member.status() == "stale"
    assert member.changes()[0].startswith("code: ")


def test_a_students_own_body_counts_for_students_alone(edit, tmp_path):
    path = recipe(tmp_path, RECIPE.replace("distill: {", f"distill: {{body: '{edit()}', body_options: {{width: 4}}, "))
    publish_members(loaded(path))
    before = loaded(path)
    keys = before.member(0).fingerprint, before.student("hydra").fingerprint, before.search("hydra").fingerprint
    edit("Sigmoid")
    after = loaded(path)
    assert after.member(0).fingerprint == keys[0]
    assert after.student("hydra").fingerprint != keys[1]
    assert after.search("hydra").fingerprint != keys[2]
