"""Closed forms of Gaussians and their mixtures against numerical integration and scipy."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from scipy.special import logsumexp

from hydra_ray.losses import regression as losses
from hydra_ray.metrics import gaussian
from hydra_ray.metrics import regression as regression_metrics

quick = settings(deadline=None, max_examples=20)
CLOSE: dict[str, Any] = {"rel": 1e-6, "abs": 1e-6}
EXACT: dict[str, Any] = {"rel": 1e-10, "abs": 1e-10}


@st.composite
def mixtures(draw, rows=3):
    """Outputs [N, M, 2] of mixtures, another of the same shape, and targets [N], of scales from 0.01 to 100."""
    num_members = draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([0.01, 1.0, 100.0]))

    def outputs():
        means = rng.normal(draw(st.sampled_from([0.0, 5.0])), 1, (rows, num_members))
        return torch.from_numpy(np.stack([scale * means, 2 * math.log(scale) + rng.normal(0, 1, means.shape)], -1))

    return outputs(), outputs(), torch.from_numpy(scale * rng.normal(0, 2, rows))


def parts(row):
    """Means and standard deviations of a mixture's components, each [M, 1]."""
    means, log_variances = row.numpy().T[..., None]
    return means, np.exp(log_variances / 2)


def density(row, x):
    return stats.norm.pdf(np.atleast_1d(x), *parts(row)).mean(axis=0)


def log_density(row, x):
    return np.asarray(logsumexp(stats.norm.logpdf(np.atleast_1d(x), *parts(row)), axis=0)) - math.log(len(row))


def cdf(row, x):
    return stats.norm.cdf(np.atleast_1d(x), *parts(row)).mean(axis=0)


def integral(function, row, *cuts):
    """Of a vectorised function over where a mixture has its mass and over `cuts`, which may be kinks of it.

    Gauss-Legendre with 20 points on each stretch between means and every half deviation of every component.
    """
    means, deviations = parts(row)
    ends = np.unique(np.concatenate([(means + deviations * np.arange(-12, 12.5, 0.5)).ravel(), cuts]))
    nodes, weights = np.polynomial.legendre.leggauss(20)
    middle, half = (ends[1:] + ends[:-1]) / 2, (ends[1:] - ends[:-1]) / 2
    values = function((middle[:, None] + half[:, None] * nodes).ravel()).reshape(-1, len(nodes))
    return float((values @ weights * half).sum())


@quick
@given(mixtures())
def test_moments_are_those_of_the_mixtures_density(case):
    outputs, _, _ = case
    moments = gaussian.mixture_moments(outputs)
    for row, mean, total in zip(outputs, moments.mean, moments.total_variance, strict=True):
        scale = math.sqrt(float(total))
        assert integral(lambda x, row=row: x * density(row, x), row) == pytest.approx(float(mean), abs=1e-6 * scale)
        variance = integral(lambda x, row=row, mean=float(mean): (x - mean) ** 2 * density(row, x), row)
        assert variance == pytest.approx(float(total), rel=1e-6)
    means = outputs[..., 0].numpy()
    assert moments.knowledge_variance.numpy() == pytest.approx(means.var(axis=1), **EXACT)
    assert moments.data_variance.numpy() == pytest.approx(np.exp(outputs[..., 1].numpy()).mean(1), **EXACT)


@quick
@given(mixtures())
def test_kl_is_the_integral_of_the_log_ratio(case):
    p, q, _ = case
    for one, other in zip(p, q, strict=True):
        for a, b in zip(one, other, strict=True):
            of, to = a[None], b[None]
            expected = integral(lambda x, of=of, to=to: density(of, x) * (log_density(of, x) - log_density(to, x)), of)
            assert gaussian.gaussian_kl(a, b).item() == pytest.approx(expected, **CLOSE)
    assert losses.heads_loss(q, p).mean().item() == pytest.approx(gaussian.gaussian_kl(p, q).mean().item())


@quick
@given(mixtures(), st.floats(-10, 10), st.floats(1e-3, 1e3))
def test_losses_of_distillation_do_not_change_with_the_units_of_the_target(case, shift, scale):
    teacher, student, _ = case

    def moved(outputs):
        return torch.stack([shift + scale * outputs[..., 0], outputs[..., 1] + 2 * math.log(scale)], -1)

    pairs = [
        (losses.heads_loss, student),
        (losses.moments_loss, student[:, 0]),
        (losses.diversity_matching_loss, student),
        (losses.deviation_loss, student),
        (losses.correlation_loss, student),
    ]
    for loss, outputs in pairs:
        expected = loss(outputs, teacher).mean().item()
        assert loss(moved(outputs), moved(teacher)).mean().item() == pytest.approx(expected, rel=1e-6, abs=1e-7)


@quick
@given(mixtures())
def test_moments_loss_differs_from_the_kl_of_the_mixture_by_what_no_student_can_change(case):
    teacher, student, _ = case
    row = teacher[:1]
    gaps = []
    for output in student[:, 0]:
        head = output[None]
        full = integral(
            lambda x, head=head: density(row[0], x) * (log_density(row[0], x) - log_density(head, x)), row[0]
        )
        gaps.append(full - losses.moments_loss(output[None], row).mean().item())
    assert gaps == pytest.approx([gaps[0]] * len(gaps), rel=1e-6, abs=1e-5)


def test_moments_loss_is_least_at_the_mixtures_moments():
    teacher = torch.tensor([[[0.0, 0.0], [3.0, 1.0], [-1.0, -2.0]]], dtype=torch.float64)
    moments = gaussian.mixture_moments(teacher)
    found = optimize.minimize(
        lambda x: losses.moments_loss(torch.tensor(x)[None], teacher).mean().item(), [1.0, 1.0], tol=1e-12
    )
    assert found.x == pytest.approx([moments.mean.item(), math.log(moments.total_variance.item())], abs=1e-5)
    assert found.fun == pytest.approx(0, abs=1e-10)


def test_spread_loss_is_zero_for_equal_disagreement_and_is_what_it_says():
    teacher = torch.tensor([[[0.0, 0.0], [2.0, 0.0]]], dtype=torch.float64)
    student = torch.tensor([[[5.0, 3.0], [6.0, -3.0]]], dtype=torch.float64)
    expected = (math.log(0.25 + 1e-6) - math.log(1 + 1e-6)) ** 2
    assert losses.diversity_matching_loss(student, teacher).mean().item() == pytest.approx(expected)
    assert losses.diversity_matching_loss(teacher + torch.tensor([7.0, 2.0]), teacher).mean().item() == pytest.approx(0)
    collapsed = torch.zeros(1, 2, 2, requires_grad=True)
    losses.diversity_matching_loss(collapsed, teacher.float()).mean().backward()
    assert collapsed.grad is not None
    assert collapsed.grad.isfinite().all()


def test_masked_losses_are_those_of_the_members_left():
    torch.manual_seed(0)
    student, teacher = torch.randn(4, 3, 2).double(), torch.randn(4, 3, 2).double()
    mask = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 0, 1], [0, 0, 0]]).bool()
    parts = [(student[row][mask[row]][None], teacher[row][mask[row]][None]) for row in range(3)]
    rows = [gaussian.gaussian_kl(members, heads).mean().item() for heads, members in parts]
    assert losses.heads_loss(student, teacher, mask).mean().item() == pytest.approx(np.mean(rows))
    means = [losses.moments_loss(student[row, :1], parts[row][1]).mean().item() for row in range(3)]
    assert losses.moments_loss(student[:, 0], teacher, mask).mean().item() == pytest.approx(np.mean(means))
    gaps = [losses.diversity_matching_loss(*parts[row]).mean().item() for row in range(2)]  # one member has no spread
    assert losses.diversity_matching_loss(student, teacher, mask).mean().item() == pytest.approx(np.mean(gaps))
    errors = [losses.deviation_loss(*parts[row]).mean().item() for row in range(2)]
    assert losses.deviation_loss(student, teacher, mask).mean().item() == pytest.approx(np.mean(errors))
    for loss in (losses.heads_loss, losses.diversity_matching_loss, losses.deviation_loss):
        everyone, nobody = (loss(student, teacher, which(4, 3).bool()) for which in (torch.ones, torch.zeros))
        assert everyone.mean().item() == pytest.approx(loss(student, teacher).mean().item())
        assert nobody.mean().item() == nobody.num_rows == 0


@quick
@given(mixtures())
def test_nll_crps_and_distribution_function_agree_with_integration(case):
    outputs, _, targets = case
    found_nll = regression_metrics.row_nll(outputs, targets)
    found_crps = regression_metrics.row_crps(outputs, targets)
    found_cdf = regression_metrics.mixture_cdf(outputs, targets)
    for row, y, nll, crps, at in zip(outputs, targets.tolist(), found_nll, found_crps, found_cdf, strict=True):
        assert nll.item() == pytest.approx(-log_density(row, y).item(), **EXACT)
        assert at.item() == pytest.approx(cdf(row, y).item(), **EXACT)
        expected = integral(lambda x, row=row, y=y: (cdf(row, x) - (x >= y)) ** 2, row, y)
        assert crps.item() == pytest.approx(expected, rel=1e-6, abs=1e-6 * parts(row)[1].max())


def test_crps_of_one_gaussian_is_the_known_formula():
    outputs = torch.tensor([[[2.0, math.log(9.0)]]], dtype=torch.float64)
    z = (4.0 - 2.0) / 3
    expected = 3 * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / math.sqrt(math.pi))
    assert regression_metrics.row_crps(outputs, torch.tensor([4.0])).item() == pytest.approx(expected, rel=1e-12)


@quick
@given(mixtures(), st.sampled_from([0.025, 0.3, 0.5, 0.975]))
def test_quantiles_are_those_of_the_mixture(case, probability):
    outputs, _, _ = case
    found = regression_metrics.mixture_quantile(outputs, probability)
    for row, quantile in zip(outputs, found.tolist(), strict=True):
        assert cdf(row, quantile).item() == pytest.approx(probability, abs=1e-10)


def test_the_interval_is_the_mixtures_and_not_a_gaussians_with_its_moments():
    outputs = torch.tensor([[[-10.0, 0.0], [10.0, 0.0]]], dtype=torch.float64)
    low, high = regression_metrics.central_interval(outputs)
    assert high.item() == pytest.approx(10 + stats.norm.ppf(0.95), abs=1e-9)
    assert low.item() == pytest.approx(-high.item(), abs=1e-9)
    assert 1.96 * gaussian.mixture_moments(outputs).total_variance.sqrt().item() > high.item() + 5


def test_coverage_of_targets_drawn_from_the_mixture_is_the_nominal_one():
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(10_000, 3, 2, generator=generator, dtype=torch.float64)
    chosen = outputs[torch.arange(10_000), torch.randint(3, (10_000,), generator=generator)]
    noise = torch.randn(10_000, generator=generator, dtype=torch.float64)
    targets = chosen[:, 0] + noise * (chosen[:, 1] / 2).exp()
    figures = regression_metrics.regression_figures(outputs, targets, regression_metrics.variance_scores(outputs))
    assert figures["coverage_95"] == pytest.approx(0.95, abs=0.008)
    levels = regression_metrics.row_interval_level(outputs, targets)
    assert [(levels <= p).double().mean().item() for p in (0.2, 0.5, 0.8)] == pytest.approx([0.2, 0.5, 0.8], abs=0.015)
    total, error = figures["total_variance"], figures["rmse"]
    assert total is not None
    assert error == pytest.approx(math.sqrt(total), rel=0.03)


EXTREME = torch.tensor(
    [[[0.0, -30.0], [1.0, 30.0]], [[0.0, -30.0], [0.0, -30.0]], [[1e4, 30.0], [-1e4, -30.0]]], dtype=torch.float64
)


@pytest.mark.parametrize("distance", [0.0, 1.0, 1e4, 1e10])
def test_nothing_underflows_or_overflows(distance):
    for row in EXTREME:
        outputs, target = row[None], torch.tensor([distance], dtype=torch.float64)
        figures = regression_metrics.regression_figures(outputs, target, regression_metrics.variance_scores(outputs))
        assert all(value is not None and math.isfinite(value) for value in figures.values())
        crps = figures["crps"]
        assert crps is not None
        assert crps >= 0


def test_a_target_ten_thousand_deviations_away_costs_what_it_should():
    outputs = torch.tensor([[[0.0, 0.0], [2.0, 0.0]]])
    nll = regression_metrics.row_nll(outputs, torch.tensor([1e4])).item()
    assert nll == pytest.approx(0.5 * (1e4 - 2) ** 2 + 0.5 * math.log(2 * math.pi) + math.log(2), rel=1e-12)
    low_precision = losses.mixture_nll(outputs.half(), torch.tensor([1e4])).mean()
    assert low_precision.item() == pytest.approx(nll, rel=1e-5)


def test_losses_are_finite_with_finite_gradients_at_the_extremes_in_float32():
    student, teacher = EXTREME.float().requires_grad_(), EXTREME.flip(1).float()
    for loss in (
        losses.heads_loss(student, teacher).mean(),
        losses.moments_loss(student[:, 0], teacher).mean(),
        losses.diversity_matching_loss(student, teacher).mean(),
        losses.mixture_nll(student, torch.full((3,), 1e4)).mean(),
    ):
        (gradient,) = torch.autograd.grad(loss, student)
        assert loss.isfinite()
        assert gradient.isfinite().all()


def test_one_member_has_no_knowledge_variance():
    outputs = torch.randn(5, 1, 2)
    assert gaussian.mixture_moments(outputs).knowledge_variance.tolist() == [0] * 5
    scores = regression_metrics.variance_scores(outputs)
    assert set(scores) == {"total_variance", "data_variance"}
    assert regression_metrics.regression_figures(outputs, torch.zeros(5), scores)["knowledge_variance"] is None


def test_stretched_means_keep_their_mean_and_scale_the_knowledge_variance():
    outputs = torch.randn(6, 4, 2, dtype=torch.float64)
    before, after = (gaussian.mixture_moments(each) for each in (outputs, gaussian.rescale_means(outputs, 1.5)))
    torch.testing.assert_close(after.mean, before.mean)
    torch.testing.assert_close(after.data_variance, before.data_variance)
    torch.testing.assert_close(after.knowledge_variance, 2.25 * before.knowledge_variance)


def test_wrong_shapes_are_refused_with_the_shapes():
    with pytest.raises(ValueError, match=r"\[2, 3, 2\].*\[2, 4, 2\]"):
        losses.heads_loss(torch.zeros(2, 3, 2), torch.zeros(2, 4, 2))
    with pytest.raises(ValueError, match=r"\[2, 3, 5\]"):
        gaussian.mixture_moments(torch.zeros(2, 3, 5))
    with pytest.raises(ValueError, match=r"\[0, 3, 2\]"):
        regression_metrics.row_nll(torch.zeros(0, 3, 2), torch.zeros(0))
    with pytest.raises(ValueError, match="between 0 and 1"):
        regression_metrics.mixture_quantile(torch.zeros(1, 1, 2), 1.0)
