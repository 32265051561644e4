"""A temperature for each row: what it is, and that members' disagreement decides it."""

import torch

from hydra_ray.losses import mean_loss
from hydra_ray.losses.classification import row_temperature_loss
from hydra_ray.metrics import row_temperature, row_temperature_scores, sharpened_uncertainty
from hydra_ray.metrics.uncertainty import uncertainty

N, M, C = 40, 6, 5


def members():
    """Rows from ones on which all agree to ones on which members are sure of different classes."""
    generator = torch.Generator().manual_seed(0)
    common, own = torch.randn(N, 1, C, generator=generator), torch.randn(N, M, C, generator=generator)
    return 2 * common + torch.linspace(0.01, 4, N)[:, None, None] * own


def test_the_prediction_does_not_depend_on_the_temperature_nor_this_on_the_prediction():
    logits = torch.randn(N, C, generator=torch.Generator().manual_seed(1))
    shifted = logits + 3
    torch.testing.assert_close(logits.softmax(-1), shifted.softmax(-1))
    centred = logits - logits.mean(-1, keepdim=True)
    torch.testing.assert_close(row_temperature(centred + 2), torch.full((N,), 1 + 2.718281828459045**2).double())
    found = row_temperature_scores(logits)
    torch.testing.assert_close(found["entropy"], found["data_uncertainty"] + found["mutual_information"])
    assert (row_temperature_scores(shifted)["mutual_information"] > found["mutual_information"]).all()
    assert row_temperature(torch.full((1, C), 1e30)).isfinite().all()


def test_one_temperature_has_the_members_mean_entropy():
    """Found by bisection: total, data and knowledge uncertainty are then the ensemble's."""
    logits_NMC = members().double()
    wanted = uncertainty(logits_NMC)
    mean_NC = logits_NMC.softmax(-1).mean(1).log()
    low, high = torch.ones(N).double(), torch.full((N,), 1e4).double()
    for _ in range(60):
        middle = (low + high) / 2
        is_flat = sharpened_uncertainty(mean_NC, middle).data > wanted.data
        low, high = torch.where(is_flat, middle, low), torch.where(is_flat, high, middle)
    found = sharpened_uncertainty(mean_NC, low)
    torch.testing.assert_close(found.total, wanted.total)
    torch.testing.assert_close(found.knowledge, wanted.knowledge, rtol=1e-4, atol=1e-6)


def test_the_losses_find_the_members_mean_and_their_disagreement():
    logits_NMC = members()
    student = torch.zeros(N, C, requires_grad=True)
    optimizer = torch.optim.Adam([student], 0.1)
    for _ in range(600):
        loss = mean_loss(student, logits_NMC, 1.0).mean() + 0.1 * row_temperature_loss(student, logits_NMC).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    wanted = uncertainty(logits_NMC)
    found = row_temperature_scores(student.detach())
    torch.testing.assert_close(found["entropy"], wanted.total, rtol=0.02, atol=0.01)
    torch.testing.assert_close(found["mutual_information"], wanted.knowledge, rtol=0.1, atol=1e-3)


def test_the_temperatures_loss_leaves_the_prediction_alone_and_rows_of_one_member_out():
    student = torch.randn(N, C, generator=torch.Generator().manual_seed(1)).requires_grad_()
    mask = torch.ones(N, M, dtype=torch.bool)
    mask[3, 1:] = False
    found = row_temperature_loss(student, members(), mask)
    assert int(found.num_rows) == N - 1
    (slope,) = torch.autograd.grad(found.mean(), student)
    torch.testing.assert_close(slope, slope.mean(-1, keepdim=True).expand_as(slope))
    assert not slope[3].any()
    assert slope[:3].all()
