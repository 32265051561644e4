"""The losses against literal versions written from the definitions, with loops and plain Python numbers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import digamma, gammaln

from hydra_ray.losses import classification as losses
from hydra_ray.losses import dirichlet

quick = settings(deadline=None, max_examples=30)
EXACT = {"rel": 1e-10, "abs": 1e-10}
# Larger concentrations cost any float64 computation digits, the literal one too.
DIRICHLET_SCALES = (0.0, 0.1, 1.0)


@st.composite
def batches(draw, scales=(0.0, 0.1, 1.0, 5.0)):
    """Student logits [B, M, C], teacher logits [B, M, C] and a temperature."""
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(2, 5)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from(scales))
    student, teacher = (torch.from_numpy(scale * rng.normal(size=shape)) for _ in range(2))
    return student, teacher, draw(st.floats(0.5, 8.0))


def softmax(logits, temperature):
    exps = [math.exp(z / temperature) for z in logits]
    return [e / sum(exps) for e in exps]


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


@quick
@given(batches())
def test_hydra_loss_is_the_mean_kl_from_each_member_to_its_head_times_t_squared(batch):
    student, teacher, t = batch
    pairs = [
        kl(softmax(member, t), softmax(head, t))
        for heads, members in zip(student.tolist(), teacher.tolist(), strict=True)
        for head, member in zip(heads, members, strict=True)
    ]
    expected = t * t * sum(pairs) / len(pairs)
    assert losses.hydra_loss(student, teacher, t).mean().item() == pytest.approx(expected, **EXACT)


@quick
@given(batches())
def test_mean_loss_is_the_kl_from_the_mean_of_probabilities(batch):
    student, teacher, t = batch
    student = student[:, 0]
    rows = []
    for output, members in zip(student.tolist(), teacher.tolist(), strict=True):
        softened = [softmax(member, t) for member in members]
        mean = [sum(column) / len(softened) for column in zip(*softened, strict=True)]
        rows.append(kl(mean, softmax(output, t)))
    expected = t * t * sum(rows) / len(rows)
    assert losses.mean_loss(student, teacher, t).mean().item() == pytest.approx(expected, **EXACT)


def deviation(logits):
    """The standard deviation over classes, or 1 where it is less."""
    mean = sum(logits) / len(logits)
    return max(1.0, math.sqrt(sum((z - mean) ** 2 for z in logits) / len(logits)))


@quick
@given(batches((0.0, 0.5, 5.0)))
def test_standardised_heads_have_a_temperature_of_every_row_and_member(batch):
    student, teacher, t = batch
    pairs = []
    for heads, members in zip(student.tolist(), teacher.tolist(), strict=True):
        for head, member in zip(heads, members, strict=True):
            own = t * deviation(member)
            pairs.append(own**2 * kl(softmax(member, own), softmax(head, own)))
    found = losses.hydra_loss(student, teacher, t, standardise=True).mean().item()
    assert found == pytest.approx(sum(pairs) / len(pairs), **EXACT)


@quick
@given(batches((0.0, 0.5, 5.0)))
def test_a_standardised_mean_has_the_mean_temperature_of_the_rows_members(batch):
    student, teacher, t = batch
    rows = []
    for output, members in zip(student[:, 0].tolist(), teacher.tolist(), strict=True):
        own = t * sum(map(deviation, members)) / len(members)
        softened = [softmax(member, own) for member in members]
        mean = [sum(column) / len(softened) for column in zip(*softened, strict=True)]
        rows.append(own**2 * kl(mean, softmax(output, own)))
    found = losses.mean_loss(student[:, 0], teacher, t, standardise=True).mean().item()
    assert found == pytest.approx(sum(rows) / len(rows), **EXACT)


def test_standardised_heads_are_best_where_they_are_their_members_with_their_confidence():
    """Z-scores of both would be at their best for any scale of the student's logits."""
    torch.manual_seed(0)
    teacher = 6 * torch.randn(3, 4, 5, dtype=torch.float64)
    for scale, least in ((1.0, 0.0), (0.5, 0.1), (2.0, 0.1)):
        student = (scale * teacher).requires_grad_()
        loss = losses.hydra_loss(student, teacher, 1.0, standardise=True).mean()
        (gradient,) = torch.autograd.grad(loss, student)
        assert loss.item() >= least
        assert (gradient.abs().max() < 1e-12) == (scale == 1.0)


def test_standardised_gradients_are_of_one_size_whatever_the_members_scale():
    """As T^2 has it: a confident member's head moves as far as one's whose logits are a tenth, for the same error."""
    torch.manual_seed(0)
    teacher = torch.randn(1, 1, 6, dtype=torch.float64)
    error = 0.1 * torch.randn(1, 1, 6, dtype=torch.float64)
    norms = []
    for scale in (20.0, 200.0):
        student = (scale * teacher + error).requires_grad_()
        losses.hydra_loss(student, scale * teacher, 10.0, standardise=True).mean().backward()
        assert student.grad is not None
        norms.append(student.grad.norm().item())
    assert norms[0] == pytest.approx(norms[1], rel=0.05)


def test_a_head_learns_a_flat_member_as_it_would_without():
    flat = torch.zeros(1, 1, 4, dtype=torch.float64)
    student = torch.tensor([[[1.0, 0.0, 0.0, -1.0]]], dtype=torch.float64)
    plain = losses.hydra_loss(student, flat, 2.0).mean()
    assert losses.hydra_loss(student, flat, 2.0, standardise=True).mean().item() == pytest.approx(plain.item(), **EXACT)


@quick
@given(batches(DIRICHLET_SCALES), st.sampled_from([0.0, 1e-4, 1e-3, 0.3]))
def test_dirichlet_nll_is_minus_the_mean_log_density(batch, smoothing):
    student, teacher, t = batch
    student = student[:, 0]
    rows = []
    for output, members in zip(student.tolist(), teacher.tolist(), strict=True):
        alpha = [math.exp(z) for z in output]
        densities = []
        for member in members:
            pi = [(1 - smoothing) * (p - 1 / len(output)) + 1 / len(output) for p in softmax(member, t)]
            densities.append(
                math.lgamma(sum(alpha))
                - sum(math.lgamma(a) for a in alpha)
                + sum((a - 1) * math.log(p) for a, p in zip(alpha, pi, strict=True))
            )
        rows.append(-sum(densities) / len(densities))
    expected = sum(rows) / len(rows) / t**2
    actual = dirichlet.dirichlet_nll(student, teacher, t, smoothing).mean().item()
    assert actual == pytest.approx(expected, **EXACT)


def literal_proxy(output, members, t, max_precision):
    """One row of the proxy loss, and the KL between the two Dirichlets without its constant."""
    softened = [softmax(member, t) for member in members]
    mean = [sum(column) / len(softened) for column in zip(*softened, strict=True)]
    reverse = sum(kl(mean, p) for p in softened) / len(softened)
    num_classes = len(output)
    precision = max_precision
    if reverse > 1e-15:
        precision = min(max_precision, (num_classes - 1) / (2 * reverse))
    alpha = np.array([math.exp(z / t) + 1 for z in output])
    expected_logs = digamma(alpha) - digamma(alpha.sum())
    fit = -float(np.dot(mean, expected_logs))
    log_beta = gammaln(alpha).sum() - gammaln(alpha.sum())
    entropy = log_beta + (alpha.sum() - num_classes) * digamma(alpha.sum())
    entropy -= float(np.dot(alpha - 1, digamma(alpha)))
    return fit - entropy / (precision + num_classes), precision * fit - entropy


@quick
@given(batches(DIRICHLET_SCALES), st.sampled_from([5.0, 1e4]))
def test_proxy_dirichlet_rkl_follows_its_definition(batch, max_precision):
    student, teacher, t = batch
    student = student[:, 0]
    rows = [
        literal_proxy(output, members, t, max_precision)[0]
        for output, members in zip(student.tolist(), teacher.tolist(), strict=True)
    ]
    expected = t * t * sum(rows) / len(rows)
    actual = dirichlet.proxy_dirichlet_rkl(student, teacher, t, max_precision).mean().item()
    assert actual == pytest.approx(expected, **EXACT)


def test_dirichlet_nll_is_least_near_the_concentration_the_members_came_from():
    alpha = torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64)
    torch.manual_seed(0)
    members = torch.distributions.Dirichlet(alpha).sample(torch.Size([2000])).log().unsqueeze(0)
    at_truth = dirichlet.dirichlet_nll(alpha.log().unsqueeze(0), members, 1.0, 0.0).mean()
    for factor in (0.5, 2.0):
        assert dirichlet.dirichlet_nll((factor * alpha).log().unsqueeze(0), members, 1.0, 0.0).mean() > at_truth


@quick
@given(batches(DIRICHLET_SCALES), st.sampled_from([1.0, 100.0]), st.integers(0, 2**16))
def test_the_losses_of_a_prior_network_are_kls_between_dirichlets(batch, precision, seed):
    """Against torch's own KL, row by row; rows without a label are the other term's."""
    outputs = batch[0][:, 0].clamp(-6, 6)
    num_classes = outputs.shape[1]
    labels = torch.randint(-1, num_classes, (len(outputs),), generator=torch.Generator().manual_seed(seed))
    known, unknown = [], []
    for output, label in zip(outputs, labels.tolist(), strict=True):
        target = torch.ones(num_classes, dtype=torch.float64)
        if label >= 0:
            target[label] += precision
        pair = torch.distributions.Dirichlet(output.exp()), torch.distributions.Dirichlet(target)
        (known if label >= 0 else unknown).append(torch.distributions.kl_divergence(*pair).item())
    found = dirichlet.prior_network_loss(outputs, labels, precision), dirichlet.flat_dirichlet_loss(outputs, labels)
    for term, rows in zip(found, (known, unknown), strict=True):
        assert int(term.num_rows) == len(rows)
        assert term.total.item() == pytest.approx(sum(rows), rel=1e-9, abs=1e-9)


def test_gradients_of_the_losses_of_a_prior_network():
    outputs = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.tensor([0, 3, -1, -1, 2])
    assert torch.autograd.gradcheck(lambda z: dirichlet.prior_network_loss(z, labels, 100.0).total, outputs)
    assert torch.autograd.gradcheck(lambda z: dirichlet.flat_dirichlet_loss(z, labels).total, outputs)


def test_student_equal_to_teacher_costs_nothing_and_gets_no_gradient():
    torch.manual_seed(0)
    teacher = torch.randn(3, 4, 5, dtype=torch.float64)
    student = teacher.clone().requires_grad_()
    loss = losses.hydra_loss(student, teacher, 2.0).mean()
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-15)
    assert student.grad is not None
    assert student.grad.abs().max() < 1e-15


def test_heads_are_paired_with_their_own_members():
    torch.manual_seed(0)
    teacher = torch.randn(3, 4, 5)
    assert losses.hydra_loss(teacher.flip(1), teacher, 1.0).mean() > 0.1


def test_one_head_makes_hydra_plain_distillation():
    torch.manual_seed(0)
    student, teacher = torch.randn(3, 1, 5), torch.randn(3, 1, 5)
    torch.testing.assert_close(
        losses.hydra_loss(student, teacher, 3.0).mean(), losses.mean_loss(student[:, 0], teacher, 3.0).mean()
    )


def test_mean_loss_uses_the_mean_of_probabilities_not_of_logits():
    teacher = torch.tensor([[[6.0, 0.0, 0.0], [0.0, 2.0, 0.0]]], dtype=torch.float64)
    mean_probs = teacher.softmax(-1).mean(1)
    assert losses.mean_loss(mean_probs.log(), teacher, 1.0).mean().item() == pytest.approx(0, abs=1e-14)
    assert losses.mean_loss(teacher.mean(1), teacher, 1.0).mean() > 0.01


def test_t_squared_keeps_the_gradient_at_high_temperature():
    torch.manual_seed(0)
    teacher = torch.randn(2, 3, 4, dtype=torch.float64)
    norms = []
    for t in (50.0, 100.0):
        student = torch.zeros(2, 3, 4, dtype=torch.float64, requires_grad=True)
        losses.hydra_loss(student, teacher, t).mean().backward()
        assert student.grad is not None
        norms.append(student.grad.norm().item())
    assert norms[0] == pytest.approx(norms[1], rel=0.02)


def all_losses(student_BMC, teacher_BMC, temperature):
    return [
        losses.hydra_loss(student_BMC, teacher_BMC, temperature).mean(),
        losses.hydra_loss(student_BMC, teacher_BMC, temperature, standardise=True).mean(),
        losses.mean_loss(student_BMC[:, 0], teacher_BMC, temperature).mean(),
        losses.mean_loss(student_BMC[:, 0], teacher_BMC, temperature, standardise=True).mean(),
        dirichlet.dirichlet_nll(student_BMC[:, 0], teacher_BMC, temperature).mean(),
        dirichlet.proxy_dirichlet_rkl(student_BMC[:, 0], teacher_BMC, temperature).mean(),
    ]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_extreme_logits_give_finite_losses_and_gradients(dtype, temperature):
    extreme = torch.tensor([[[1e3, -1e3, 0.0], [-1e3, 1e3, 0.0]], [[-1e3, -1e3, -1e3], [1e3, 1e3, 1e3]]])
    for teacher in (extreme.flip(-1), extreme, torch.zeros_like(extreme)):
        student = extreme.to(dtype).requires_grad_()
        for loss in all_losses(student, teacher.to(dtype), temperature):
            (gradient,) = torch.autograd.grad(loss, student)
            assert loss.isfinite()
            assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_worked_on_in_float32(dtype):
    torch.manual_seed(0)
    student, teacher = torch.randn(4, 3, 5).to(dtype), torch.randn(4, 3, 5).to(dtype)
    for half, full in zip(
        all_losses(student, teacher, 2.0), all_losses(student.double(), teacher.double(), 2.0), strict=True
    ):
        assert half.dtype in (torch.float32, torch.float64)
        assert half.item() == pytest.approx(full.item(), rel=1e-5)


def test_gradients_agree_with_finite_differences():
    torch.manual_seed(0)
    student = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(2, 3, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda s: tuple(all_losses(s, teacher, 2.0)), [student])


def test_wrong_arguments_are_refused_with_the_shapes():
    student, teacher = torch.zeros(2, 3, 4), torch.zeros(2, 5, 4)
    with pytest.raises(ValueError, match=r"\[2, 3, 4\].*\[2, 5, 4\]"):
        losses.hydra_loss(student, teacher, 1.0)
    with pytest.raises(ValueError, match=r"\[2, 3, 4\].*\[2, 5, 4\]"):
        losses.mean_loss(student, teacher, 1.0)
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        losses.mean_loss(student[:, 0], teacher, 0)
    with pytest.raises(ValueError, match="smoothing"):
        dirichlet.dirichlet_nll(student[:, 0], teacher, 1.0, 1.0)
    with pytest.raises(ValueError, match="max_precision"):
        dirichlet.proxy_dirichlet_rkl(student[:, 0], teacher, 1.0, 0)
