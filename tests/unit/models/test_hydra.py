"""The student: shapes, seeds, its second phase, and rescale_disagreement calibration."""

from dataclasses import replace

import pytest
import torch

from hydra_ray.metrics import rescale_disagreement
from hydra_ray.models.members import ModelSpec, Normalise
from hydra_ray.models.student import build_student

SPEC = ModelSpec("student", "mlp", (8, 8, 1), 10, {"hidden": [20]}, num_heads=4, head_width=6, head_depth=1)


def images(num_rows=5):
    return torch.arange(num_rows * 64).remainder(251).to(torch.uint8).reshape(num_rows, 8, 8, 1)


@pytest.mark.parametrize("architecture", ["mlp", "cnn", "resnet20"])
@pytest.mark.parametrize("head_depth", [0, 2])
def test_a_student_gives_logits_for_every_head(architecture, head_depth):
    spec = replace(SPEC, architecture=architecture, options={}, head_depth=head_depth)
    student = build_student(spec, 0, Normalise.fit(images().numpy()))
    assert student(images()).shape == (5, 4, 10)
    assert student.features(images()).shape == (5, student.heads.num_features)


def test_the_seed_decides_and_heads_do_not_move_the_body():
    torch.manual_seed(0)
    one, before = build_student(SPEC, 3), torch.get_rng_state()
    two = build_student(replace(SPEC, num_heads=9), 3)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one.body.parameters(), two.body.parameters(), strict=True))
    assert not torch.equal(one(images()), build_student(SPEC, 4)(images()))


def test_phase_two_starts_near_the_mean_head_on_the_same_body():
    mean = build_student(replace(SPEC, num_heads=1), 0).train()
    student = mean.expand(4, 0.05, 1)
    assert student.spec == SPEC
    assert student.training
    assert student.body is mean.body
    start, logits = mean(images()), student(images())
    assert 0 < (logits - start).abs().max() < start.abs().max()
    assert logits.std(1).min() > 0
    logits.logsumexp(-1).sum().backward()
    assert all(parameter.grad is not None for parameter in student.parameters())


def test_spread_moves_heads_about_their_mean():
    torch.manual_seed(0)
    log_probs_BMC = torch.randn(6, 4, 3).log_softmax(-1)
    assert torch.allclose(rescale_disagreement(log_probs_BMC, 1.0), log_probs_BMC, atol=1e-6)
    assert rescale_disagreement(log_probs_BMC, 0.0).std(1).max() < 1e-6
    wide = rescale_disagreement(log_probs_BMC, 1.7)
    assert torch.allclose(wide.exp().sum(-1), torch.ones(6, 4), atol=1e-5)
    expected = log_probs_BMC.mean(1, keepdim=True) + 1.7 * (log_probs_BMC - log_probs_BMC.mean(1, keepdim=True))
    assert torch.allclose(wide, expected.log_softmax(-1), atol=1e-5)
    assert (wide.exp().var(1).mean() > log_probs_BMC.exp().var(1).mean()).item()


def test_spread_takes_logits_too():
    logits_BMC = torch.randn(6, 4, 3)
    assert torch.allclose(
        rescale_disagreement(logits_BMC + 5, 1.3), rescale_disagreement(logits_BMC.log_softmax(-1), 1.3), atol=1e-5
    )
