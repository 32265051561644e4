"""Attacks against a literal version of one row at a time, and what holds for any of them."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_ray.config import AttacksConfig
from hydra_ray.metrics.attacks import adversarial, attack_loss, gradient_by_pixels
from hydra_ray.randomness import Draws

KINDS = ("fgsm", "pgd", "mim")
FEW = AttacksConfig(steps=6, restarts=2, step_size=0.3, confidence=0.4)
EPS = 0.08


def network(seed, dtype=torch.float64, classes=4, pixels=12, scale=1.0):
    """A small network of pixels in a 2 x 3 image of two channels, and rows of which it has most right."""
    draws = torch.Generator().manual_seed(seed)
    first, second = (scale * torch.randn(*size, generator=draws, dtype=dtype) for size in ((pixels, 8), (8, classes)))

    def log_probs(pixels_B):
        return torch.log_softmax(torch.tanh(pixels_B.flatten(1) @ first) @ second, dim=1)

    rows = torch.rand(24, 2, 3, 2, generator=draws, dtype=dtype)
    labels = log_probs(rows).argmax(1)
    labels[:3] = (labels[:3] + 1) % classes
    return log_probs, rows, labels


def attacked(kind, log_probs, rows, labels, eps=EPS, how=FEW, first_id=0):
    draws = Draws.of(7, torch.arange(first_id, first_id + len(rows)))
    return adversarial(kind, log_probs, rows, labels, draws, eps, how)


def is_right(log_probs, rows, labels):
    return log_probs(rows).argmax(1) == labels


# the literal version


def literal(kind, log_probs, row, label, number, eps):
    """One row, one step and one pixel at a time; the gradient alone is torch's."""

    def said(flat):
        return log_probs(torch.tensor(flat, dtype=torch.float64).view(1, *row.shape))[0].tolist()

    def wrong(flat):
        return max(range(len(said(flat))), key=said(flat).__getitem__) != label

    def gradient(flat, loss):
        inputs = torch.tensor(flat, dtype=torch.float64, requires_grad=True)
        out = log_probs(inputs.view(1, *row.shape))[0]
        others = max((out[c] for c in range(len(out)) if c != label), key=lambda each: float(each.detach()))
        lead = others - out[label]
        value = -out[label] if loss == "ce" else lead
        if loss == "cw" and float(lead.detach()) > FEW.confidence:
            return [0.0] * len(flat)
        return torch.autograd.grad(value, inputs)[0].tolist()

    def climbed(start, loss, steps, size, decay):
        now, gathered = list(start), [0.0] * len(start)
        for _ in range(steps):
            slope = gradient(now, loss)
            length = sum(abs(each) for each in slope) or 1.0
            gathered = [decay * old + new / length for old, new in zip(gathered, slope, strict=True)]
            for place, each in enumerate(gathered):
                moved = now[place] + size * ((each > 0) - (each < 0))
                moved = min(max(moved, origin[place] - eps), origin[place] + eps)
                now[place] = min(max(moved, 0.0), 1.0)
        return now

    origin = row.flatten().tolist()
    if wrong(origin):
        return origin
    if kind == "fgsm":
        return climbed(origin, "ce", 1, eps, 0.0)
    if kind == "mim":
        return climbed(origin, "ce", 6, 0.3 * eps, 1.0)
    random = Draws.of(7, torch.tensor([number]))
    ended = origin
    for draw, (loss, _) in enumerate(itertools.product(("ce", "cw"), range(2))):
        noise = random.signed(draw * 12, 12)[0].tolist()
        start = [min(max(x + eps * u, 0.0), 1.0) for x, u in zip(origin, noise, strict=True)]
        ended = climbed(start, loss, 6, 0.3 * eps, 0.0)
        if wrong(ended):
            break
    return ended


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1])
def test_an_attack_is_its_literal_version(kind, seed):
    log_probs, rows, labels = network(seed)
    found = attacked(kind, log_probs, rows, labels)
    still = is_right(log_probs, found, labels)
    assert 2 < still.sum() < is_right(log_probs, rows, labels).sum() - 2, "some fall and some do not"
    for number, (row, label) in enumerate(zip(rows, labels.tolist(), strict=True)):
        expected = literal(kind, log_probs, row, label, number, EPS)
        assert found[number].flatten().tolist() == pytest.approx(expected, abs=1e-9), number


@given(seed=st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_losses_are_their_formulas(seed):
    logits = 3 * torch.randn(6, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    labels = torch.arange(6) % 5
    log_p = logits.log_softmax(1)
    for row, label in enumerate(labels.tolist()):
        z = logits[row].tolist()
        total = sum(math.exp(each) for each in z)
        lead = max(each for place, each in enumerate(z) if place != label) - z[label]
        assert float(attack_loss("ce", log_p, labels, 0.1)[row]) == pytest.approx(-math.log(math.exp(z[label]) / total))
        assert float(attack_loss("cw", log_p, labels, 0.1)[row]) == pytest.approx(min(lead, 0.1))


@pytest.mark.parametrize("loss", ["ce", "cw"])
def test_gradients_are_differences(loss):
    log_probs, rows, labels = network(2)

    def value(pixels):
        return attack_loss(loss, log_probs(pixels), labels[:4], 50.0)

    assert torch.autograd.gradcheck(value, rows[:4].clone().requires_grad_())
    expected = torch.autograd.functional.jacobian(lambda pixels: value(pixels).sum(), rows[:4])
    torch.testing.assert_close(gradient_by_pixels(loss, log_probs, rows[:4], labels[:4], 50.0), expected)


# what holds for all


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 2**31), eps=st.floats(0, 1))
@settings(max_examples=15, deadline=None)
def test_a_row_stays_in_its_ball_and_in_the_box(kind, seed, eps):
    log_probs, rows, labels = network(seed, torch.float32)
    rows[5:8] = rows[5:8].round()
    found = attacked(kind, log_probs, rows, labels, eps)
    assert float((found - rows).abs().max()) <= eps + 1e-6
    assert 0 <= float(found.min()) <= float(found.max()) <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_eps_0_changes_nothing(kind):
    log_probs, rows, labels = network(0)
    assert torch.equal(attacked(kind, log_probs, rows, labels, 0.0), rows)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_that_is_wrong_already_is_left_alone(kind):
    log_probs, rows, labels = network(0)
    before = is_right(log_probs, rows, labels)
    moved = (attacked(kind, log_probs, rows, labels) != rows).flatten(1).any(1)
    assert torch.equal(moved, before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_does_not_depend_on_those_beside_it(kind):
    log_probs, rows, labels = network(3)
    every = attacked(kind, log_probs, rows, labels)
    some = attacked(kind, log_probs, rows[10:15], labels[10:15], first_id=10)
    torch.testing.assert_close(every[10:15], some, rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_pgd_does_no_less_damage_than_fgsm(seed):
    log_probs, rows, labels = network(seed, scale=2.0)
    left = {
        kind: int(is_right(log_probs, attacked(kind, log_probs, rows, labels, 0.1, AttacksConfig()), labels).sum())
        for kind in ("fgsm", "pgd")
    }
    assert left["pgd"] <= left["fgsm"]


def test_more_starts_and_losses_never_save_a_row():
    log_probs, rows, labels = network(4)
    few = attacked("pgd", log_probs, rows, labels, how=FEW.model_copy(update={"losses": ["ce"], "restarts": 1}))
    many = attacked("pgd", log_probs, rows, labels)
    assert not (is_right(log_probs, many, labels) & ~is_right(log_probs, few, labels)).any()


def test_fgsm_is_exact_for_two_classes_and_a_line():
    """The least change that breaks a row is its margin over the sum of the absolute weights."""
    draws = torch.Generator().manual_seed(0)
    weights = torch.randn(12, 2, generator=draws, dtype=torch.float64)
    rows = 0.4 + 0.2 * torch.rand(200, 2, 3, 2, generator=draws, dtype=torch.float64)

    def log_probs(pixels_B):
        return torch.log_softmax((pixels_B.flatten(1) - 0.5) @ weights, dim=1)

    labels = log_probs(rows).argmax(1)
    slope = weights[:, 0] - weights[:, 1]
    needed = ((rows.flatten(1) - 0.5) @ slope).abs() / slope.abs().sum()
    for eps in (0.005, 0.01, 0.02):
        left = is_right(log_probs, attacked("fgsm", log_probs, rows, labels, eps), labels)
        assert 20 < left.sum() < 180
        assert torch.equal(left, needed > eps)


def test_cw_breaks_rows_whose_cross_entropy_has_no_gradient_left():
    """Certainty that hides the gradient of cross-entropy is no robustness."""
    log_probs, rows, labels = network(5, torch.float32)

    def certain(pixels_B):
        return torch.log_softmax(2000 * log_probs(pixels_B), dim=1)

    right = is_right(certain, rows, labels)
    hidden = gradient_by_pixels("ce", certain, rows, labels).flatten(1).abs().amax(1) == 0
    left = {}
    for loss in ("ce", "cw"):
        how = FEW.model_copy(update={"losses": [loss]})
        left[loss] = int(is_right(certain, attacked("pgd", certain, rows, labels, 0.3, how), labels).sum())
    assert (right & hidden).sum() > 10
    assert left["cw"] < left["ce"]
