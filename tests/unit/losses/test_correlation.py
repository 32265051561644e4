"""The terms that make heads disagree where members do: against NumPy, whatever is masked and however rows are split."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_ray.losses import classification, regression, share_of_mean
from hydra_ray.losses.sums import correlate_rows

quick = settings(deadline=None, max_examples=30)
LOSSES = {"classification": classification.correlation_loss, "regression": regression.correlation_loss}


def outputs(seed, num_rows=12, num_members=3, num_outputs=2):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(num_rows, num_members, num_outputs)))


def log_disagreement(task, outputs_BMC, small_B):
    """ln(MI + 1e-6), or ln(knowledge variance + a millionth of the members' data variance), by NumPy."""
    values = outputs_BMC.detach().numpy()
    if task == "regression":
        return np.log(values[..., 0].var(axis=1) + small_B)
    probs = np.exp(values) / np.exp(values).sum(-1, keepdims=True)
    mean = probs.mean(1, keepdims=True)
    return np.log((probs * np.log(probs / mean)).sum(-1).mean(1) + small_B)


def expected(task, student, teacher):
    data = np.exp(teacher[..., 1].numpy()).mean(1)
    small = 1e-6 * data if task == "regression" else 1e-6
    return 1 - np.corrcoef(log_disagreement(task, student, small), log_disagreement(task, teacher, small))[0, 1]


@pytest.mark.parametrize("task", LOSSES)
@quick
@given(seed=st.integers(0, 2**32 - 1))
def test_it_is_one_minus_the_correlation_of_the_logarithms(task, seed):
    student, teacher = outputs(seed), outputs(seed + 1)
    found = LOSSES[task](student, teacher).mean().item()
    assert found == pytest.approx(expected(task, student, teacher), abs=1e-6)
    assert LOSSES[task](teacher, teacher).mean().item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("task", LOSSES)
def test_rows_that_one_member_answered_count_as_if_they_were_not_there(task):
    student, teacher = outputs(0), outputs(1)
    mask = torch.ones(12, 3, dtype=torch.bool)
    mask[::3, 1:] = False
    mask[1] = False
    kept = mask.all(dim=1)
    found = LOSSES[task](student, teacher, mask).mean().item()
    assert found == pytest.approx(expected(task, student[kept], teacher[kept]), abs=1e-6)


@pytest.mark.parametrize("task", LOSSES)
def test_gradients_are_those_of_finite_differences(task):
    student, teacher = outputs(2).requires_grad_(), outputs(3)
    LOSSES[task](student, teacher).mean().backward()
    assert student.grad is not None
    step = 1e-4
    for place in ((0, 0, 0), (5, 2, 0), (11, 1, 0)):
        ends = []
        for sign in (1, -1):
            moved = student.detach().clone()
            moved[place] += sign * step
            ends.append(expected(task, moved, teacher))
        assert student.grad[place].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-5)


@pytest.mark.parametrize("sizes", [(4, 8), (1, 11), (0, 12), (3, 4, 5)])
def test_ranks_together_have_the_loss_and_the_gradient_of_one(sizes):
    """Correlations of parts do not average to that of the whole: the sums behind them are added up."""
    student, teacher = outputs(4).requires_grad_(), outputs(5)
    loss = classification.correlation_loss
    alone = 3.0 * loss(student, teacher).mean()
    (slope,) = torch.autograd.grad(alone, student)
    parts = list(zip(student.split(sizes), teacher.split(sizes), strict=True))
    of_all = loss(student, teacher).sums()
    shares = [
        share_of_mean([loss(*part).scaled(3.0)], len(sizes), lambda sums: sums.copy_(of_all), is_even=False)
        for part in parts
    ]
    together = torch.stack(shares).mean()
    assert together.item() == pytest.approx(alone.item(), abs=1e-6)
    torch.testing.assert_close(torch.autograd.grad(together, student)[0], slope, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("x", "y", "value"),
    [
        ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0], 1.0),
        ([1.0, 2.0, 3.0], [0.5, 0.5, 0.5], 1.0),
        ([1.0], [2.0], 0.0),
        ([], [], 0.0),
        ([1.0, 2.0, 4.0], [2.0, 1.0, -1.0], 2.0),
    ],
)
def test_what_has_no_correlation_has_no_gradient(x, y, value):
    x_B = torch.tensor(x, requires_grad=True)
    found = correlate_rows(x_B, torch.tensor(y)).mean()
    assert found.item() == pytest.approx(value, abs=1e-6)
    found.backward()
    assert x_B.grad is not None
    assert x_B.grad.isfinite().all()
    if value < 2:
        assert not x_B.grad.any()


@quick
@given(seed=st.integers(0, 2**32 - 1))
def test_deviations_are_measured_in_units_of_the_rows_own_spread(seed):
    student, teacher = outputs(seed), outputs(seed + 1)
    deviations = []
    for logits in (student.numpy(), teacher.numpy()):
        log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        deviations.append(log_probs - log_probs.mean(1, keepdims=True))
    errors = np.square(deviations[0] - deviations[1]).sum((1, 2)) / 3
    spreads = np.square(deviations[1]).sum((1, 2)) / 3
    found = classification.deviation_loss(student, teacher).mean().item()
    assert found == pytest.approx((errors / (spreads + 1e-6)).mean(), rel=1e-6)
    agreeing = student.mean(dim=1, keepdim=True).expand_as(student)
    assert classification.deviation_loss(agreeing, teacher).mean().item() == pytest.approx(1, abs=1e-2)
    means = teacher[..., 0].numpy()
    off = (
        student[..., 0].numpy()
        - student[..., 0].numpy().mean(1, keepdims=True)
        - (means - means.mean(1, keepdims=True))
    )
    small = 1e-6 * np.exp(teacher[..., 1].numpy()).mean(1)
    literal = (np.square(off).mean(1) / (means.var(axis=1) + small)).mean()
    assert regression.deviation_loss(student, teacher).mean().item() == pytest.approx(literal, rel=1e-6)
