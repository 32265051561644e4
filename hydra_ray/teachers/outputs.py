"""What teachers say, brought to what shards hold: logits, or means and log variances; or refused with the row.

One rule for probabilities: those below `LEAST_PROBABILITY`, zeros and hard votes among them, count as that much before
the logarithm is taken, and each row is divided by its sum again.

B rows, M members, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hydra_ray.config import OutputsSaid
from hydra_ray.data import TaskName
from hydra_ray.errors import UserError

LEAST_PROBABILITY = 1e-4
_SUM_TOLERANCE = 1e-3
OF_TASK: dict[TaskName, tuple[OutputsSaid, ...]] = {
    "classification": ("logits", "probabilities"),
    "regression": ("mean_variance", "mean"),
}
"""What teachers of a task can say."""

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


class Found(NamedTuple):
    """What members said of N rows."""

    outputs_NMC: Floats
    """As shards hold them."""
    mask_NM: npt.NDArray[Any] | None
    """bool [N, M], which members have an answer, or floats, how much each counts; None for all alike."""


def as_outputs(
    values: npt.NDArray[Any],
    said: OutputsSaid,
    num_members: int,
    num_outputs: int,
    rows: Sequence[int] | npt.NDArray[np.int64],
    answered: Bools | None = None,
) -> Floats:
    """Numbers of teachers as shards hold them.

    Args:
        values: [B, M, C]; for two classes also [B, M], probabilities of the second; means are [B, M] or [B, M, 1].
        said: what they are.
        num_members: M.
        num_outputs: C; 2 in a regression.
        rows: B row_ids, for messages.
        answered: bool [B, M], False where a member has no answer, whose outputs become 0; None for all.

    Returns:
        float32 [B, M, C]: logits, or means and log variances; of means alone the log variance is 0.

    Raises:
        UserError: another shape, a number that is not finite, probabilities that are none.
    """
    wanted = {"mean": 1, "mean_variance": 2}.get(said, num_outputs)
    values = _shaped(values, said, num_members, wanted)
    if answered is not None:
        values = np.where(answered[..., None], values, 1 / wanted if said == "probabilities" else 1.0)
    _check_finite(values, rows)
    if said == "probabilities":
        values = _log_probabilities(values, rows)
    elif said == "mean_variance":
        values = _log_variances(values, rows)
    elif said == "mean":
        values = np.concatenate([values, np.zeros_like(values)], axis=-1)
    if answered is not None:
        values = np.where(answered[..., None], values, 0.0)
    return values.astype(np.float32)


def binary_logits(scores: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Logits [..., 2] of two classes, from the second one's log odds [...]."""
    return np.stack([np.zeros_like(scores), scores], axis=-1)


def _shaped(values: npt.NDArray[Any], said: OutputsSaid, num_members: int, wanted: int) -> npt.NDArray[np.float64]:
    if values.dtype.kind not in "fiub":
        raise UserError(f"answers are {values.dtype}, not numbers; return floats")
    found = values.shape
    values = values.astype(np.float64)
    if values.ndim == 2 and said in ("mean", "probabilities"):
        values = values[..., None]
    if values.ndim == 3 and values.shape[2] == 1 and said == "probabilities" and wanted == 2:
        values = np.concatenate([1 - values, values], axis=-1)
    if values.ndim != 3 or values.shape[2] != wanted:
        names = {"mean_variance": "mean and variance", "mean": "1"}.get(said, f"{wanted} classes")
        raise UserError(f"answers have shape {list(found)}; return [rows, members, {names}] for outputs={said}")
    if values.shape[1] != num_members:
        raise UserError(
            f"answers are of {values.shape[1]} members, but ensemble.num_members={num_members}: set "
            f"ensemble.num_members={values.shape[1]}"
        )
    return values


def _check_finite(values: npt.NDArray[np.float64], rows: Sequence[int] | npt.NDArray[np.int64]) -> None:
    wrong = np.argwhere(~np.isfinite(values).all(axis=2))
    if len(wrong):
        row, member = wrong[0]
        raise UserError(f"member {member} answers row {rows[row]} with a number that is not finite; mend it")


def _log_probabilities(
    values: npt.NDArray[np.float64], rows: Sequence[int] | npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    sums = values.sum(axis=2)
    wrong = np.argwhere((np.abs(sums - 1) > _SUM_TOLERANCE) | (values < -_SUM_TOLERANCE).any(axis=2))
    if len(wrong):
        row, member = wrong[0]
        found = f"the probabilities of member {member} for row {rows[row]}"
        problem = f"add up to {sums[row, member]:.4g}" if values[row, member].min() >= 0 else "are negative"
        raise UserError(f"{found} {problem}; if these are logits, say outputs: logits")
    floored = np.maximum(values, LEAST_PROBABILITY)
    return np.log(floored / floored.sum(axis=2, keepdims=True))


def _log_variances(
    values: npt.NDArray[np.float64], rows: Sequence[int] | npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    wrong = np.argwhere(values[..., 1] <= 0)
    if len(wrong):
        row, member = wrong[0]
        found = f"member {member} gives row {rows[row]} the variance {values[row, member, 1]:.4g}"
        raise UserError(f"{found}; variances are above 0 (outputs: mean, if there are none)")
    return np.stack([values[..., 0], np.log(values[..., 1])], axis=-1)
