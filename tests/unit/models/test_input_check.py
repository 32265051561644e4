"""Rows that a network was not trained on are refused with the way out; what is as stored costs nothing."""

import numpy as np
import pytest
import torch

from hydra_ray.errors import UserError
from hydra_ray.models.ensemble import Ensemble
from hydra_ray.models.members import ModelSpec, build_member
from hydra_ray.models.student import build_student

PIXELS = torch.randint(0, 256, (6, 8, 8, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
FEATURES = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))


def network(kind, input_shape):
    heads = {"num_heads": 2, "head_width": 4, "head_depth": 1} if kind == "student" else {}
    spec = ModelSpec("student" if kind == "student" else "member", "mlp", input_shape, 3, {"hidden": [4]}, **heads)
    if kind == "student":
        return build_student(spec, 0).eval()
    members = [build_member(spec, number).eval() for number in range(2)]
    return Ensemble(members) if kind == "ensemble" else members[0]


@pytest.mark.parametrize("kind", ["student", "member", "ensemble"])
@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (PIXELS.permute(0, 3, 1, 2), r"\[1, 8, 8\].*inputs.permute\(0, 2, 3, 1\)"),
        (PIXELS[..., 0], r"\[8, 8\].*inputs\[..., None\]"),
        (PIXELS.flatten(1), r"\[64\].*bring rows to that shape"),
        (PIXELS[:, :7], r"\[7, 8, 1\].*bring rows to that shape"),
        (PIXELS / 255, r"float32.*between 0 and 1: \(inputs \* 255\).round\(\).to\(torch.uint8\)"),
        ((PIXELS / 255 - 0.5) / 0.2, r"float32.*before any normalisation"),
        (PIXELS.float(), r"float32.*inputs.to\(torch.uint8\)"),
        (PIXELS.long(), r"int64.*inputs.to\(torch.uint8\)"),
    ],
)
def test_images_of_another_kind_are_refused(kind, rows, said):
    with pytest.raises(UserError, match=f"inputs: .*{said}") as raised:
        network(kind, (8, 8, 1))(rows)
    assert f"the {kind} takes uint8 pixels (0 to 255) of shape [8, 8, 1]" in str(raised.value)


@pytest.mark.parametrize("kind", ["student", "member", "ensemble"])
@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (FEATURES[:, :4], r"\[4\].*bring rows to that shape"),
        (FEATURES.long(), r"int64.*inputs.float\(\)"),
        ((FEATURES > 0), r"bool.*inputs.float\(\)"),
    ],
)
def test_features_of_another_kind_are_refused(kind, rows, said):
    with pytest.raises(UserError, match=said):
        network(kind, (5,))(rows)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_student_names_the_row_that_is_not_finite(value):
    rows = FEATURES.clone()
    rows[3, 2] = value
    with pytest.raises(UserError, match="row 3 has a value that is not finite"):
        network("student", (5,))(rows)


@pytest.mark.parametrize("kind", ["student", "member", "ensemble"])
def test_rows_as_they_are_stored_are_taken(kind):
    assert network(kind, (8, 8, 1))(PIXELS).isfinite().all()
    assert network(kind, (5,))(FEATURES).isfinite().all()


def test_a_gradient_with_respect_to_pixels_can_be_taken():
    """Views along the members' gradients move stored pixels as floats."""
    rows = PIXELS.float().requires_grad_()
    (gradient,) = torch.autograd.grad(network("member", (8, 8, 1))(rows).sum(), rows)
    assert gradient.abs().sum() > 0


def test_a_student_can_be_exported():
    student = network("student", (5,))
    exported = torch.export.export(student, (FEATURES,))
    torch.testing.assert_close(exported.module()(FEATURES), student(FEATURES))
