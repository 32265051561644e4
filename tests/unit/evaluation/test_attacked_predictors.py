"""Attacks on real networks, and the figures that follow from who was right."""

import json
from dataclasses import replace

import pytest
import torch

from hydra_ray.config import AttacksConfig
from hydra_ray.evaluation.attacks import (
    AttackedRows,
    answered_right,
    mean_gradient_cosine,
    member_name,
    predictors_of,
    right_under_attack,
)
from hydra_ray.evaluation.robustness import UnderAttack, mean_log_volume
from hydra_ray.losses import log_volume
from hydra_ray.metrics.uncertainty import mixture_log_probs
from hydra_ray.models import ModelSpec, Normalise, build_member, build_student
from hydra_ray.models.ensemble import Ensemble

SHAPE = (5, 5, 2)
TRIED = AttacksConfig(kinds=["fgsm", "pgd"], eps=[0.0, 0.2], steps=4, restarts=1)
NORMALISE = Normalise(torch.tensor([120.0, 130.0]), torch.tensor([40.0, 50.0]))


def member(seed, architecture="mlp", **options):
    spec = ModelSpec("member", architecture, SHAPE, 4, options or {"hidden": [8]})
    return build_member(spec, seed, NORMALISE).eval()


def neighbour(seed):
    """Members that differ a little, so that many rows are right with all of them."""
    found, draws = member(0), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in found.parameters():
            weights.add_(0.1 * torch.randn(weights.shape, generator=draws))
    return found


def student():
    spec = ModelSpec("student", "mlp", SHAPE, 4, {"hidden": [8]}, num_heads=3, head_width=4, head_depth=1)
    return build_student(spec, 18, NORMALISE).eval()


@pytest.fixture(scope="module")
def stored():
    return torch.randint(0, 256, (40, *SHAPE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def rows_of(stored, labels):
    return AttackedRows.chosen(torch.arange(len(stored)), stored, labels, 1000, seed=3)


def under_attack(members, students, stored, labels):
    predictors, rows = predictors_of(members, students), rows_of(stored, labels)
    right = [right_under_attack(predictors, name, rows, TRIED, seed=3) for name in predictors]
    names = list(predictors)[len(members) :]
    clean = answered_right(predictors, rows)
    return UnderAttack(TRIED, len(members), names, clean, torch.stack(right), None)


@pytest.fixture(scope="module")
def found(stored):
    members, hydra = [neighbour(seed) for seed in range(3)], student()
    labels = Ensemble(members)(stored).mean(1).argmax(1)
    labels[::3] = hydra(stored[::3]).detach().mean(1).argmax(1)
    return under_attack(members, {"hydra_raw": hydra}, stored, labels)


def test_a_predictor_says_of_pixels_what_its_network_says_of_stored_ones(stored):
    members, hydra = [member(0), member(2, "cnn", widths=[4])], student()
    predictors = predictors_of(members, {"kd": hydra})
    assert list(predictors) == ["member 0", "member 1", "ensemble", "kd"]
    pixels = stored.float() / 255
    expected = [members[0](stored)[:, None], members[1](stored)[:, None], Ensemble(members)(stored), hydra(stored)]
    for name, outputs in zip(predictors, expected, strict=True):
        found = predictors[name](pixels).detach()
        torch.testing.assert_close(found, mixture_log_probs(outputs.detach()), atol=1e-5, rtol=1e-5)


def test_eps_0_leaves_everybody_as_they_are_and_more_does_not(found):
    clean = found.clean_VN.expand_as(found.right_VKEVN[:, :, 0])
    assert torch.equal(found.right_VKEVN[:, :, 0], clean)
    assert found.right_VKEVN[:, :, 1].sum() < clean.sum()


def test_an_ensemble_of_equal_members_has_their_figures(stored):
    members = [member(0), member(0)]
    labels = members[0](stored).argmax(1).roll(2)
    labels[:30] = members[0](stored).argmax(1)[:30]
    figures = under_attack(members, {}, stored, labels).figures()
    assert (
        figures["clean"]["member"]
        == figures["clean"]["ensemble"]
        == pytest.approx(float((members[0](stored).argmax(1) == labels).double().mean()))
    )
    for sizes in figures["robust_accuracy"].values():
        for of in sizes.values():
            assert of["member"] == of["ensemble"]
    shares = figures["member_transfer"]["pgd"]["0.2"]
    assert torch.equal(shares, shares[0, 0].expand(2, 2))
    assert float(shares[0, 0]) > 0.1


def test_shares_are_counts_of_rows(found):
    """Entry i, j: of the rows that both i and j answer right, the share made against i that fool j."""
    figures = found.figures()
    for kind, place in (("fgsm", 0), ("pgd", 1)):
        for i in range(3):
            for j in range(3):
                rows = [n for n in range(40) if found.clean_VN[i, n] and found.clean_VN[j, n]]
                fooled = [n for n in rows if not found.right_VKEVN[i, place, 1, j, n]]
                assert len(rows) > 5
                assert float(figures["member_transfer"][kind]["0.2"][i, j]) == pytest.approx(len(fooled) / len(rows))
        of = figures["robust_accuracy"][kind]["0.2"]
        own = [float(found.right_VKEVN[v, place, 1, v].double().mean()) for v in range(5)]
        assert [of["ensemble"], of["hydra_raw"]] == pytest.approx(own[3:])
        assert of["member"] == pytest.approx(sum(own[:3]) / 3)
        rows = found.clean_VN[3] & found.clean_VN[4]
        assert rows.any()
        fooled = ~found.right_VKEVN[4, place, 1, 3][rows]
        transfer = figures["transfer"][kind]["0.2"]
        assert set(transfer) == {"ensemble", "hydra_raw"}
        assert transfer["hydra_raw"] == {"ensemble": pytest.approx(float(fooled.double().mean()))}


def test_the_diagonal_is_what_an_attack_breaks_itself(found):
    shares = found.share_fooled()
    clean = found.clean_VN.double().mean(1)
    for v in range(5):
        left = found.right_VKEVN[v, :, :, v].double().mean(-1)
        torch.testing.assert_close(shares[:, :, v, v], 1 - left / clean[v])


def test_a_share_of_no_rows_is_no_figure(found):
    nobody = replace(found, clean_VN=torch.zeros_like(found.clean_VN))
    assert nobody.share_fooled().isnan().all()


def test_rows_are_a_choice_that_the_seed_makes(stored):
    labels = torch.arange(40) % 4
    some = AttackedRows.chosen(torch.arange(100, 140), stored, labels, 10, seed=1)
    again = AttackedRows.chosen(torch.arange(100, 140), stored, labels, 10, seed=1)
    other = AttackedRows.chosen(torch.arange(100, 140), stored, labels, 10, seed=2)
    assert len(some) == 10
    assert torch.equal(some.row_id, again.row_id)
    assert not torch.equal(some.row_id, other.row_id)
    assert torch.equal(some.pixels, stored[some.row_id - 100] / 255)
    assert torch.equal(some.labels, labels[some.row_id - 100])
    every = AttackedRows.chosen(torch.arange(40), stored, labels, 1000, seed=1)
    assert torch.equal(every.row_id, torch.arange(40))


def test_more_rows_than_fit_at_once_are_attacked_in_parts(stored, monkeypatch):
    predictors = predictors_of([member(0), member(1)], {})
    rows = rows_of(stored, torch.arange(40) % 4)
    whole = right_under_attack(predictors, member_name(0), rows, TRIED, seed=3)
    monkeypatch.setattr("hydra_ray.evaluation.attacks._ROWS_AT_ONCE", 7)
    parts = right_under_attack(predictors, member_name(0), rows, TRIED, seed=3)
    assert whole.shape == (2, 2, 3, 40)
    assert torch.equal(whole, parts)


def test_gradients_align_as_pairs_of_members_do(stored):
    members = [member(seed) for seed in range(3)]
    labels = torch.arange(40) % 4
    rows = rows_of(stored, labels)
    each = [predictors_of([one], {})["member 0"] for one in members]
    slopes = []
    for log_probs in each:
        pixels = rows.pixels.clone().requires_grad_()
        loss = -log_probs(pixels)[torch.arange(40), labels].sum()
        slopes.append(torch.autograd.grad(loss, pixels)[0].flatten(1).double())
    pairs = [(slopes[i] * slopes[j]).sum(1) / slopes[i].norm(dim=1) / slopes[j].norm(dim=1)
             for i, j in ((0, 1), (0, 2), (1, 2))]  # fmt: skip
    assert mean_gradient_cosine(each, rows) == pytest.approx(float(torch.stack(pairs).abs().mean()), rel=1e-6)
    assert mean_gradient_cosine([each[0], each[0]], rows) == pytest.approx(1.0)
    assert mean_gradient_cosine(each[:1], rows) is None


def test_log_volume_is_a_mean_over_rows_where_directions_can_differ():
    logits = torch.randn(30, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.arange(30) % 4
    expected = sum(float(log_volume(logits[n, :, None], labels[n : n + 1])) for n in range(30)) / 30
    assert mean_log_volume(logits, labels) == pytest.approx(expected)
    assert mean_log_volume(logits[:, :1], labels) is None
    assert mean_log_volume(logits[:, :, :3], labels.clamp(max=2)) is None, "three directions in two classes"


def test_settings_are_told(found):
    tried = found.figures()["tried"]
    assert tried == json.loads(json.dumps(tried))
    assert (tried["kinds"], tried["eps"], tried["rows"]) == (["fgsm", "pgd"], [0.0, 0.2], 40)
