"""Losses of rows that are learnt from some members only, and as sums over parts of a batch."""

import numpy as np
import pytest
import torch

from hydra_ray.losses import classification as losses
from hydra_ray.losses import dirichlet
from hydra_ray.losses import regression as regression_losses

EXACT = {"rel": 1e-10, "abs": 1e-10}


def masked(seed, shape=(6, 5, 4)):
    """Student and teacher logits [B, M, C], and a mask with a full row, a row of one member and an empty one."""
    rng = np.random.default_rng(seed)
    student, teacher = (torch.from_numpy(rng.normal(size=shape)) for _ in range(2))
    mask = torch.from_numpy(rng.random(shape[:2]) < 0.5)
    mask[0], mask[1], mask[2] = True, torch.arange(shape[1]) == 3, False
    mask[3, :2] = True
    return student, teacher, mask


ROW_LOSSES = {
    "hydra": (lambda s, t, m: losses.hydra_loss(s, t, 2.0, m), 1),
    "mean": (lambda s, t, m: losses.mean_loss(s[:, 0], t, 2.0, m), 1),
    "hydra, standardised": (lambda s, t, m: losses.hydra_loss(s, 3 * t, 2.0, m, standardise=True), 1),
    "mean, standardised": (lambda s, t, m: losses.mean_loss(s[:, 0], 3 * t, 2.0, m, standardise=True), 1),
    "dirichlet": (lambda s, t, m: dirichlet.dirichlet_nll(s[:, 0], t, 2.0, 1e-3, m), 1),
    "proxy": (lambda s, t, m: dirichlet.proxy_dirichlet_rkl(s[:, 0], t, mask_BM=m), 2),
    "spread": (losses.diversity_matching_loss, 2),
    "deviations": (losses.deviation_loss, 2),
}


@pytest.mark.parametrize("name", ROW_LOSSES)
@pytest.mark.parametrize("seed", range(3))
def test_a_masked_loss_is_the_mean_over_rows_of_the_loss_on_their_members(name, seed):
    loss, least = ROW_LOSSES[name]
    has_heads = name in ("spread", "deviations", "hydra", "hydra, standardised")
    student, teacher, mask = masked(seed)
    rows = []
    for row in range(len(mask)):
        which = mask[row]
        if which.sum() >= least:
            heads = student[row : row + 1, which] if has_heads else student[row : row + 1]
            rows.append(loss(heads, teacher[row : row + 1, which], None).mean().item())
    found = loss(student, teacher, mask)
    assert found.num_rows == len(rows)
    assert found.mean().item() == pytest.approx(sum(rows) / len(rows), **EXACT)


@pytest.mark.parametrize(
    "loss", [losses.hydra_loss, regression_losses.heads_loss], ids=["classification", "regression"]
)
def test_a_row_learnt_from_one_member_counts_as_much_as_one_learnt_from_all(loss):
    """Every pair of head and member is equally far apart, so every row must pull at its heads with the same force."""
    options = {"temperature": 2.0} if loss is losses.hydra_loss else {}
    student = torch.tensor([0.3, -0.2], dtype=torch.float64).expand(2, 5, 2).clone().requires_grad_()
    teacher, mask = torch.zeros_like(student), torch.ones(2, 5, dtype=torch.bool)
    mask[1, 1:] = False
    loss(student, teacher, mask_BM=mask, **options).mean().backward()
    assert student.grad is not None
    of_all, of_one = student.grad.sum(dim=1)
    torch.testing.assert_close(of_one, of_all)
    assert of_one.abs().min() > 1e-3


@pytest.mark.parametrize("name", ROW_LOSSES)
def test_masks_of_all_and_of_none(name):
    """All: as without a mask. None: no loss, and gradients of 0 rather than none or not a number."""
    loss, _ = ROW_LOSSES[name]
    student, teacher, mask = masked(1)
    everyone, unmasked = loss(student, teacher, torch.ones_like(mask)), loss(student, teacher, None)
    assert everyone.num_rows == unmasked.num_rows == len(mask)
    assert everyone.mean().item() == pytest.approx(unmasked.mean().item(), **EXACT)
    student.requires_grad_()
    nobody = loss(student, teacher, torch.zeros_like(mask)).mean()
    nobody.backward()
    assert nobody.item() == 0
    assert student.grad is not None
    assert (student.grad == 0).all()


@pytest.mark.parametrize("name", ROW_LOSSES)
@pytest.mark.parametrize("is_masked", [True, False])
def test_sums_and_counts_of_parts_add_up_to_those_of_the_whole(name, is_masked):
    """What any number of ranks rests on; the last part has no rows."""
    loss, _ = ROW_LOSSES[name]
    student, teacher, mask = masked(2)
    parts = [
        loss(student[part], teacher[part], mask[part] if is_masked else None)
        for part in (slice(1), slice(1, 4), slice(4, 6), slice(6, 6))
    ]
    whole = loss(student, teacher, mask if is_masked else None)
    assert sum(part.num_rows for part in parts) == whole.num_rows
    assert sum(part.total.item() for part in parts) == pytest.approx(whole.total.item(), **EXACT)
