"""Kinds of students: phases, budgets, temperatures, and that each minimises its own loss."""

import pytest
import torch
from helpers.kinds import kind_of

from hydra_ray.losses import classification as losses
from hydra_ray.losses import dirichlet
from hydra_ray.shards.schema import NO_LABEL
from hydra_ray.tasks import CLASSIFICATION

KINDS = ("hydra", "kd", "end2", "proxy_end2")


def _logits(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _settings(**changes):
    return {"mean_phase_epochs": 2, "epochs": 6, "temperature": 3.0, **changes}


def _objective(kind, settings, num_members):
    """Of one loss alone, unless the settings name others."""
    alone = {"correlation_weight": 0.0} if kind == "hydra" else {}
    return kind_of(CLASSIFICATION, kind, num_members, **{**alone, **settings})


def _loss(objective, student, teacher, labels=None, progress=0.0, phase=-1):
    labels = torch.full((len(student),), NO_LABEL) if labels is None else labels
    terms = objective.loss(objective.phases[phase], progress, student, teacher, labels)
    return sum(term.mean() for term in terms)


def test_every_kind_takes_the_same_number_of_epochs():
    for kind in KINDS:
        assert sum(phase.num_epochs for phase in _objective(kind, _settings(), 4).phases) == 8
    assert [phase.num_heads for phase in _objective("hydra", _settings(), 4).phases] == [1, 4]
    assert [phase.name for phase in _objective("hydra", _settings(mean_phase_epochs=0), 4).phases] == ["heads"]


def test_each_kind_minimises_its_own_loss():
    student, teacher = _logits(6, 4, 3), _logits(6, 4, 3, seed=1)
    one = student[:, :1]
    own = {"end2": {"first_temperature": 5.0, "smoothing": 0.01}}
    cases = {
        "hydra": (student, losses.hydra_loss(student, teacher, 3.0).mean()),
        "kd": (one, losses.mean_loss(one[:, 0], teacher, 3.0).mean()),
        "end2": (one, dirichlet.dirichlet_nll(one[:, 0], teacher, 5.0, 0.01).mean()),
        "proxy_end2": (one, dirichlet.proxy_dirichlet_rkl(one[:, 0], teacher).mean()),
    }
    for kind, (outputs, expected) in cases.items():
        found = _loss(_objective(kind, _settings(**own.get(kind, {})), 4), outputs, teacher)
        assert torch.allclose(found, expected), kind


def test_a_prior_network_learns_labels_and_rows_without_one_but_no_member():
    student, teacher, labels = (
        _logits(6, 1, 3),
        _logits(6, 4, 3, seed=1),
        torch.tensor([0, 1, 2, 2, NO_LABEL, NO_LABEL]),
    )
    found = _loss(
        _objective("prior_network", _settings(label_precision=50.0, unknown_weight=3.0), 4), student, teacher, labels
    )
    known = dirichlet.prior_network_loss(student[:, 0], labels, 50.0).mean()
    unknown = dirichlet.flat_dirichlet_loss(student[:, 0], labels).mean()
    assert torch.allclose(found, known + 3 * unknown)
    other = _loss(
        _objective("prior_network", _settings(label_precision=50.0, unknown_weight=3.0), 4),
        student,
        9 * teacher,
        labels,
    )
    assert torch.equal(found, other)


def test_hydra_and_kd_are_standardised_on_request():
    student, teacher = _logits(6, 4, 3), 5 * _logits(6, 4, 3, seed=1)
    hydra, kd = (_objective(kind, _settings(standardise=True), 4) for kind in ("hydra", "kd"))
    mean = losses.mean_loss(student[:, 0], teacher, 3.0, standardise=True).mean()
    heads = losses.hydra_loss(student, teacher, 3.0, standardise=True).mean()
    assert torch.allclose(_loss(hydra, student[:, :1], teacher, phase=0), mean)
    assert torch.allclose(_loss(hydra, student, teacher), heads)
    assert torch.allclose(_loss(kd, student[:, :1], teacher), mean)


def test_temperature_is_cooled_by_the_same_factor_at_every_step_and_kept():
    end2 = _objective("end2", _settings(), 4)
    temperatures = [end2.temperature(p) for p in (0, 0.25, 0.5, 0.75, 1)]
    assert temperatures == pytest.approx([10, 10 ** (2 / 3), 10 ** (1 / 3), 1, 1])
    assert _objective("end2", _settings(cooling=0.0), 4).temperature(0) == 1


def test_fewer_heads_learn_from_the_first_members():
    teacher = _logits(5, 6, 3, seed=1)
    student = _logits(5, 4, 3)
    assert torch.allclose(
        _loss(_objective("hydra", _settings(), 4), student, teacher),
        losses.hydra_loss(student, teacher[:, :4], 3.0).mean(),
    )


def test_label_weight_adds_the_cross_entropy_of_the_mixture_of_labelled_rows():
    teacher, student = _logits(4, 3, 5, seed=1), _logits(4, 3, 5)
    labels = torch.tensor([2, NO_LABEL, 0, NO_LABEL])
    plain = _loss(_objective("hydra", _settings(), 3), student, teacher, labels)
    found = _loss(_objective("hydra", _settings(label_weight=0.5), 3), student, teacher, labels)
    mixture = student.softmax(-1).mean(1)
    expected = -(mixture[0, 2].log() + mixture[2, 0].log()) / 2
    assert torch.allclose(found - plain, 0.5 * expected)
    nobody = _loss(_objective("hydra", _settings(label_weight=0.5), 3), student, teacher)
    assert torch.allclose(nobody, plain)


def test_spread_loss_is_zero_for_equal_disagreement_and_is_what_it_says():
    teacher, student = _logits(7, 4, 3, seed=1), _logits(7, 4, 3)
    assert losses.diversity_matching_loss(teacher, teacher).mean() == 0

    def mutual_information(logits):
        probs = logits.softmax(-1)
        mean = probs.mean(1, keepdim=True)
        return (probs * (probs.log() - mean.log())).sum(-1).mean(1)

    gap = (mutual_information(student) + 1e-6).log() - (mutual_information(teacher) + 1e-6).log()
    assert torch.allclose(losses.diversity_matching_loss(student, teacher).mean(), gap.square().mean())
    with_spread = _loss(_objective("hydra", _settings(diversity_weight=0.1), 4), student, teacher)
    assert torch.allclose(with_spread, losses.hydra_loss(student, teacher, 3.0).mean() + 0.1 * gap.square().mean())


def test_labels_teach_the_control_whatever_members_say():
    student = _logits(4, 1, 5).requires_grad_()
    labels = torch.tensor([2, NO_LABEL, 0, NO_LABEL])
    found = [
        _loss(_objective("labels", _settings(), 3), student, _logits(4, 3, 5, seed=seed), labels) for seed in (1, 2)
    ]
    probs = student[:, 0].softmax(-1)
    assert torch.allclose(found[0], -(probs[0, 2].log() + probs[2, 0].log()) / 2)
    assert torch.equal(*found)
    found[0].backward()
    assert student.grad is not None
    assert not student.grad[1].any()
