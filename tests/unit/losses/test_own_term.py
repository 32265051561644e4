"""A user's own term by import path: docs/recipes.md's example trains a student, what breaks its word is told."""

import re

import pytest
import torch
from helpers.finished import RECIPE, loaded, publish_members, publish_shards, recipe
from helpers.kinds import kind_of
from helpers.own_modules import own_module
from support import REPO

from hydra_ray.errors import UserError
from hydra_ray.losses import check_own_term, own_term, own_term_code
from hydra_ray.losses.own_term import _code
from hydra_ray.runs.preflight import check_run
from hydra_ray.tasks import CLASSIFICATION

EXAMPLE = re.search(r"```python\n# my_package/terms.py\n(.*?)```", (REPO / "docs/recipes.md").read_text(), re.S)
HEAD = "import torch\nfrom hydra_ray.losses import Summed, sum_rows\n\n\ndef term(student, members, labels, mask):\n"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes the user's module, and says its name."""
    with own_module(tmp_path, monkeypatch, _code.cache_clear) as write:
        yield write


def entropy_term(student_BHC):
    probs_BC = student_BHC.softmax(-1).mean(1)
    return (probs_BC * probs_BC.log()).sum(-1).mean()


def test_the_example_is_added_to_the_loss_of_every_phase(write):
    assert EXAMPLE is not None
    path = f"{write(EXAMPLE[1])}:confidence"
    plain = kind_of(CLASSIFICATION, "hydra", 3)
    kind = kind_of(CLASSIFICATION, "hydra", 3, terms=[{"import_path": path, "weight": 0.5}])
    generator = torch.Generator().manual_seed(0)
    teacher, labels = torch.randn(6, 3, 4, generator=generator), torch.full((6,), -1)
    for phase in kind.phases:
        student = torch.randn(6, phase.num_heads, 4, generator=generator)
        found, without = (
            sum(term.mean() for term in each.loss(phase, 0.0, student, teacher, labels)) for each in (kind, plain)
        )
        torch.testing.assert_close(found - without, 0.5 * entropy_term(student), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("num_heads", [1, 3])
def test_the_example_passes_its_check(write, task, num_heads):
    assert EXAMPLE is not None
    check_own_term(f"{write(EXAMPLE[1])}:confidence", task, num_heads, 3, 2)


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("    return student.mean()\n", "returns a Tensor; return Summed"),
        ("    return Summed(student.sum(-1), 2)\n", r"a total of shape \[2, 3\], not a scalar tensor"),
        ("    return Summed(1.0, 2)\n", "a total that is a float, not a scalar tensor"),
        ("    return Summed(student.sum(), None)\n", "returns None as number of rows"),
        ("    return sum_rows(student.sum((1, 2)) / 0)\n", "not finite; mend it"),
        ("    return sum_rows(members.sum((1, 2)))\n", "without a gradient; compute it from the student's outputs"),
        ("    return sum_rows(student.sum((1, 2)), mask.any(1))\n", r"fails on two rows .*AttributeError.*mend it"),
    ],
)
def test_what_breaks_its_word_is_one_line(write, body, line):
    with pytest.raises(UserError, match=line):
        check_own_term(f"{write(HEAD + body)}:term", "classification", 3, 3, 4)


def test_what_is_no_function(write):
    with pytest.raises(UserError, match=r"cannot be imported .*write package\.module:function"):
        own_term("no_such_module:term")
    with pytest.raises(UserError, match="is a int, not a function"):
        own_term(f"{write('term = 3')}:term")


def test_an_edit_is_another_term(write):
    bodies = [
        "    return sum_rows(student.sum((1, 2)))\n",
        "    return sum_rows(2 * student.sum((1, 2)))\n",
        "    1 / 0\n",
    ]
    codes = [own_term_code(f"{write(HEAD + body)}:term", "classification", 4) for body in bodies]
    assert len(set(codes)) == 3
    assert codes[2] == "fails"
    assert own_term_code(f"{write(HEAD + bodies[0])}:term", "classification", 4) == codes[0]


def test_a_run_tries_its_terms_first_and_trains_a_student_again_after_an_edit(write, tmp_path):
    path = recipe(tmp_path, RECIPE)
    publish_members(loaded(path))
    publish_shards(loaded(path))

    def run(body):
        name = write(HEAD + body)
        return loaded(path, f"students.hydra.terms=[{{import_path: '{name}:term', weight: 0.1}}]")

    first = run("    return sum_rows(student.square().sum((1, 2)))\n")
    check_run(first)
    fingerprint = first.student("hydra").fingerprint
    second = run("    return sum_rows(3 * student.square().sum((1, 2)))\n")
    assert second.student("hydra").fingerprint != fingerprint
    with pytest.raises(UserError, match=r"students\.hydra\.terms\.0\.import_path=own_\w+:term: fails on two rows"):
        check_run(run("    raise ValueError(student.shape)\n"))
