"""Objectives of groups against their formulas, by row and member, and their gradients against differences."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hydra_ray.losses import group_objectives as objectives


def outputs(seed: int, members: int, rows: int, classes: int, scale: float = 2.0):
    draws = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(members, rows, classes, generator=draws, dtype=torch.float64)
    return logits, torch.randint(classes, (rows,), generator=draws)


shapes = given(seed=st.integers(0, 2**31), members=st.integers(2, 4), rows=st.integers(1, 5), classes=st.integers(5, 7))


def probabilities(row) -> list[float]:
    weights = [math.exp(value) for value in row.tolist()]
    return [weight / sum(weights) for weight in weights]


def literal(function, logits, labels):
    """A function of the members' probabilities and the label, for each row."""
    return [function([probabilities(member[row]) for member in logits], int(label)) for row, label in enumerate(labels)]


def means(members):
    return [sum(column) / len(members) for column in zip(*members, strict=True)]


def slow_joint(members, label):
    return -math.log(means(members)[label])


def slow_entropy(members, label):
    return -sum(p * math.log(p) for p in means(members))


def slow_log_volume(members, label):
    rows = []
    for member in members:
        others = [p for number, p in enumerate(member) if number != label]
        length = math.sqrt(sum(p * p for p in others))
        rows.append([p / length for p in others])
    gram = [[sum(a * b for a, b in zip(one, other, strict=True)) for other in rows] for one in rows]
    shifted = [[value + (1e-6 if i == j else 0.0) for j, value in enumerate(line)] for i, line in enumerate(gram)]
    return math.log(determinant(shifted))


def determinant(matrix):
    """By its permutations."""
    total = 0.0
    for order in itertools.permutations(range(len(matrix))):
        swaps = sum(order[i] > order[j] for i, j in itertools.combinations(range(len(order)), 2))
        total += (-1) ** swaps * math.prod(matrix[i][j] for i, j in enumerate(order))
    return total


def slow_adp(members, label):
    each = sum(-math.log(member[label]) for member in members)
    return each - 2 * slow_entropy(members, label) - 0.5 * slow_log_volume(members, label)


def slow_negative_correlation(members, label):
    middle = means(members)
    total = 0.0
    for k, member in enumerate(members):
        others = [sum(members[j][c] - middle[c] for j in range(len(members)) if j != k) for c in range(len(middle))]
        penalty = sum((member[c] - middle[c]) * others[c] for c in range(len(middle)))
        total += -math.log(member[label]) + 0.7 * penalty
    return total


@pytest.mark.parametrize(
    ("fast", "slow"),
    [
        (objectives.joint_loss, slow_joint),
        (lambda logits, labels: objectives.mean_entropy(logits), slow_entropy),
        (objectives.log_volume, slow_log_volume),
        (lambda logits, labels: objectives.adp_loss(logits, labels, 2, 0.5), slow_adp),
        (
            lambda logits, labels: objectives.negative_correlation_loss(logits, labels, 0.7),
            slow_negative_correlation,
        ),
    ],
    ids=["joint", "entropy", "log volume", "adp", "negative correlation"],
)
@shapes
@settings(max_examples=20, deadline=None)
def test_classification_is_its_formula(fast, slow, seed, members, rows, classes):
    logits, labels = outputs(seed, members, rows, classes)
    assert fast(logits, labels).tolist() == pytest.approx(literal(slow, logits, labels), rel=1e-8, abs=1e-10)


def slow_gaussian(mean, log_variance, target):
    variance = math.exp(log_variance)
    return 0.5 * (math.log(2 * math.pi * variance) + (target - mean) ** 2 / variance)


@shapes
@settings(max_examples=20, deadline=None)
def test_regression_is_its_formula(seed, members, rows, classes):
    pairs, _ = outputs(seed, members, rows, 2, 1.0)
    targets = torch.randn(rows, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    joint, correlated = [], []
    for row, target in enumerate(targets.tolist()):
        said = [member[row].tolist() for member in pairs]
        densities = [math.exp(-slow_gaussian(mean, spread, target)) for mean, spread in said]
        joint.append(-math.log(sum(densities) / members))
        middle = sum(mean for mean, _ in said) / members
        each = [
            slow_gaussian(mean, spread, target) - 0.7 * (mean - middle) ** 2 / (2 * math.exp(spread))
            for mean, spread in said
        ]
        correlated.append(sum(each))
    assert objectives.joint_gaussian_loss(pairs, targets).tolist() == pytest.approx(joint)
    found = objectives.negative_correlation_gaussian_loss(pairs, targets, 0.7)
    assert found.tolist() == pytest.approx(correlated)


def test_weight_1_and_one_variance_leave_the_error_of_the_mean():
    """The ambiguity decomposition: mean squared error - mean distance to the mean = squared error of the mean."""
    pairs, _ = outputs(3, 4, 6, 2)
    pairs[..., 1] = 0
    targets = torch.linspace(-2, 2, 6, dtype=torch.float64)
    found = objectives.negative_correlation_gaussian_loss(pairs, targets, 1.0)
    of_mean = 4 * (targets - pairs[..., 0].mean(0)).square() / 2 + 4 * 0.5 * math.log(2 * math.pi)
    assert torch.allclose(found, of_mean)


def test_members_that_agree_have_no_volume_and_orthogonal_ones_have_all():
    agreeing = torch.zeros(3, 1, 4).double()
    assert objectives.log_volume(agreeing, torch.tensor([0])).item() == pytest.approx(math.log(3 * 1e-12), abs=1e-3)
    orthogonal = 80 * torch.eye(4)[1:].unsqueeze(1).double()
    assert objectives.log_volume(orthogonal, torch.tensor([0])).item() == pytest.approx(0, abs=1e-5)


def test_a_member_that_is_sure_of_the_label_keeps_its_direction():
    logits = torch.tensor([[[200.0, 1.0, 0.0, 0.0]], [[200.0, 0.0, 1.0, 0.0]]], requires_grad=True)
    unsure = torch.tensor([[[0.0, 1.0, 0.0, 0.0]], [[0.0, 0.0, 1.0, 0.0]]])
    label = torch.tensor([0])
    found = objectives.log_volume(logits, label)
    assert found.item() == pytest.approx(objectives.log_volume(unsure, label).item())
    found.sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad.abs().max() > 0.1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_worked_out_in_float32(dtype):
    logits, labels = outputs(5, 3, 4, 6)
    rounded = logits.to(dtype)
    for fast in (objectives.joint_loss, lambda logits, labels: objectives.adp_loss(logits, labels, 2, 0.5)):
        assert torch.allclose(fast(rounded, labels).double(), fast(rounded.double(), labels), rtol=1e-4)


@pytest.mark.parametrize("name", ["joint", "adp", "negative correlation", "joint Gaussian", "correlated Gaussian"])
def test_gradients_are_those_of_differences(name):
    logits, labels = outputs(1, 3, 2, 5)
    targets = torch.tensor([0.3, -0.2], dtype=torch.float64)
    of = {
        "joint": lambda x: objectives.joint_loss(x, labels),
        "adp": lambda x: objectives.adp_loss(x, labels, 2, 0.5),
        "negative correlation": lambda x: objectives.negative_correlation_loss(x, labels, 0.7),
        "joint Gaussian": lambda x: objectives.joint_gaussian_loss(x[..., :2], targets),
        "correlated Gaussian": lambda x: objectives.negative_correlation_gaussian_loss(
            torch.stack([x[..., 0], torch.zeros_like(x[..., 0])], -1), targets, 0.7
        ),
    }[name]
    assert torch.autograd.gradcheck(of, logits.requires_grad_())


class Members(nn.Module):
    """Three smooth networks, each on its own copy of the rows."""

    def __init__(self, members: int = 3, width: int = 4) -> None:
        super().__init__()
        draws = torch.Generator().manual_seed(0)
        self.first = nn.Parameter(torch.randn(members, width, 6, generator=draws, dtype=torch.float64))
        self.second = nn.Parameter(torch.randn(members, 6, 3, generator=draws, dtype=torch.float64))

    def forward(self, inputs_KB):
        return torch.tanh(inputs_KB @ self.first) @ self.second


@pytest.fixture
def setting():
    members = Members()
    rows = torch.randn(5, 4, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 1, 0])

    def each_loss(inputs_KB):
        return objectives.each_cross_entropy(members(inputs_KB), labels)

    return members, rows.expand(3, 5, 4), labels, each_loss


def slow_gradient(members, k, row, label):
    """Of member k's cross-entropy by a row, by central differences."""

    def loss(x):
        p = torch.softmax(torch.tanh(x @ members.first[k]) @ members.second[k], -1)
        return -torch.log(p[label])

    step = 1e-5
    return torch.stack([
        (loss(row + step * unit) - loss(row - step * unit)) / (2 * step) for unit in torch.eye(4).double()
    ])  # fmt: skip


def test_trs_is_its_formula(setting):
    members, inputs, labels, each_loss = setting
    found, each_KB = objectives.trs_loss(each_loss, inputs, 0.1, scale=5, cosine_weight=2, smoothness_weight=3)
    assert torch.equal(each_KB, each_loss(inputs))
    nearby = objectives.steepest_nearby(each_loss, inputs, 0.1, 6)
    with torch.no_grad():
        for row, label in enumerate(labels):
            slopes = [slow_gradient(members, k, inputs[k, row], label) for k in range(3)]
            pairs = itertools.combinations(slopes, 2)
            cosines = [abs(float(a @ b) / float(a.norm() * b.norm())) for a, b in pairs]
            steep = [2 * float(slow_gradient(members, k, nearby[k, row], label).square().sum()) for k in range(3)]
            each = sum(float(each_loss(inputs)[k, row]) for k in range(3))
            expected = each + 5 * (2 * sum(cosines) / 3 + 3 * sum(steep) / 3)
            assert found[row].item() == pytest.approx(expected, rel=1e-5)


def test_the_ascent_ends_steeper_and_within_its_radius(setting):
    _, inputs, _, each_loss = setting

    def slopes(points):
        points = points.detach().requires_grad_()
        return torch.autograd.grad(each_loss(points).sum(), points)[0].flatten(2).norm(dim=-1)

    nearby = objectives.steepest_nearby(each_loss, inputs, 0.1, 6)
    assert (nearby - inputs).abs().max() <= 0.1 + 1e-12
    assert slopes(nearby).mean() > slopes(inputs).mean()
    assert torch.equal(objectives.steepest_nearby(each_loss, inputs, 0.0, 6), inputs)


def test_second_derivatives_of_trs_are_those_of_differences(setting):
    """By the weights: the points nearby are held, as they are in training, where they have no gradient."""
    members, inputs, labels, _ = setting
    points = inputs.detach()

    def regulariser(first, second):
        def each_loss(inputs_KB):
            return objectives.each_cross_entropy(torch.tanh(inputs_KB @ first) @ second, labels)

        rows = points.clone().requires_grad_()
        slope = torch.autograd.grad(each_loss(rows).sum(), rows, create_graph=True)[0]
        return objectives.gradient_cosine(slope).sum() + slope.square().sum()

    assert torch.autograd.gradcheck(regulariser, (members.first, members.second))


def test_all_of_trs_reaches_the_weights(setting):
    members, inputs, _, each_loss = setting
    sizes = {}
    for name, weights in {"plain": (0, 0), "cosine": (2, 0), "smooth": (0, 3)}.items():
        members.zero_grad()
        objectives.trs_loss(each_loss, inputs, 0.1, 5.0, weights[0], weights[1])[0].mean().backward()
        sizes[name] = members.first.grad.clone()
    assert not torch.allclose(sizes["plain"], sizes["cosine"])
    assert not torch.allclose(sizes["plain"], sizes["smooth"])


def test_a_gradient_of_nothing_is_at_a_right_angle():
    gradients = torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]], [[-2.0, 0.0]]])
    assert objectives.gradient_cosine(gradients).item() == pytest.approx(1 / 3)
