"""Calibration of disagreement: fitted on validation rows and views of them, it gives heads the members' disagreement.

Distilled heads disagree too little, and by another factor on rows where members disagree much than where they agree.
z_m <- mean(z) + s (z_m - mean(z)) scales a row's disagreement, on log-probabilities (`metrics/disagreement_size.py`) or
on the means of a regression (`metrics/gaussian.py`). `Curve` says which knowledge uncertainty a row shall have by that
which its heads have, and each row gets the s of its own that leads there; as the curve rises, rows keep their order.
`Scale` is one s for all rows. Labels are not looked at, nor test or unknown rows.

N rows, M heads or members, C outputs, K knots.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from hydra_ray.metrics import ALL_MEMBERS, SCALE_RANGE, Members
from hydra_ray.tasks import Task

_NO_DISAGREEMENT = 1e-12  # of the ensemble's: what rounding leaves of equal heads
_MOST_KNOTS = 8
_ROWS_PER_KNOT = 25
_LEAST_SLOPE = 0.1  # of ln(calibrated) by ln(own): rows of different disagreement stay different
_TOLERANCE = 0.02


class Scale(NamedTuple):
    """One number for all rows."""

    scale: float

    def applied(self, task: Task, outputs_NMC: Tensor, heads: Members = ALL_MEMBERS) -> Tensor:
        """The outputs, all rows scaled alike."""
        return task.likelihood.rescale_disagreement(outputs_NMC, self.scale)

    def to_json(self) -> float:
        """For config.json."""
        return self.scale

    def __str__(self) -> str:
        """How much more heads differ."""
        return f"{self.scale:.3g} times"


class Curve(NamedTuple):
    """Calibrated knowledge uncertainty by that of the heads as they are: straight in logarithms, of slope 1 beyond."""

    own: tuple[float, ...]
    """[K], knowledge uncertainty of heads as they are, rising."""
    calibrated: tuple[float, ...]
    """[K], what it becomes, rising."""

    def of(self, knowledge_N: Tensor) -> Tensor:
        """Calibrated knowledge uncertainty, [N], float64."""
        own_K = torch.tensor(self.own, dtype=torch.float64).log()
        calibrated_K = torch.tensor(self.calibrated, dtype=torch.float64).log()
        log_N1 = knowledge_N.double().clamp(min=torch.finfo(torch.float64).tiny).log().unsqueeze(1)
        beyond_N = (log_N1 - own_K[0]).clamp(max=0).squeeze(1) + (log_N1 - own_K[-1]).clamp(min=0).squeeze(1)
        widths_K = own_K.diff()
        slopes_K = calibrated_K.diff() / widths_K
        inside_NK = torch.minimum((log_N1 - own_K[:-1]).clamp(min=0), widths_K)
        return (calibrated_K[0] + beyond_N + (inside_NK * slopes_K).sum(dim=1)).exp()

    def applied(self, task: Task, outputs_NMC: Tensor, heads: Members = ALL_MEMBERS) -> Tensor:
        """The outputs, each row scaled so that its knowledge uncertainty is what the curve says."""
        likelihood = task.likelihood
        wanted_N = self.of(likelihood.knowledge_of(outputs_NMC, heads))
        scale_N = likelihood.disagreement_scale(outputs_NMC.double(), wanted_N, heads)
        return likelihood.rescale_disagreement(outputs_NMC.double(), scale_N)

    def to_json(self) -> dict[str, list[float]]:
        """For config.json."""
        return {"own": list(self.own), "calibrated": list(self.calibrated)}

    def __str__(self) -> str:
        """How much more heads differ, at the knots where it is least and most."""
        times = [math.sqrt(after / before) for before, after in zip(self.own, self.calibrated, strict=True)]
        least, most = (f"{each:.3g}" for each in (min(times), max(times)))
        return f"{least} times" if least == most else f"{least} to {most} times"


Calibration = Scale | Curve


def calibration_from_json(found: Any) -> Calibration:
    """What `to_json` said."""
    if isinstance(found, dict):
        return Curve(tuple(found["own"]), tuple(found["calibrated"]))
    return Scale(float(found))


class Fitted(NamedTuple):
    """A fitted calibration, and a sentence where it does not give the disagreement its size."""

    calibration: Calibration
    caveat: str | None = None


class Answered(NamedTuple):
    """What heads and members say of the same rows."""

    heads_NMC: Tensor
    members_NMC: Tensor
    members: Members = ALL_MEMBERS
    """Which members answered each row, and their weights."""

    @classmethod
    def of_counted(cls, heads_NMC: Tensor, members_NMC: Tensor, members: Members) -> Self:
        """Of the rows that count alone."""
        if members.counts_B is None or members.weights_BM is None:
            return cls(heads_NMC, members_NMC)
        counts_N = members.counts_B
        return cls(heads_NMC[counts_N], members_NMC[counts_N], Members(members.weights_BM[counts_N], None))


def fit_scale(task: Task, validation: Answered, weights_M: Sequence[float] | None = None) -> Fitted:
    """Fit one s, within `SCALE_RANGE`, so that the heads' mean knowledge uncertainty is the members'.

    It grows with s, so Brent's method on ln s finds it.

    Args:
        task: whose outputs these are.
        validation: M >= 2 heads and the members that they imitate.
        weights_M: of the heads in the student's mixture; None for equal ones.

    Returns:
        s, with a caveat where no s within the range makes up for the difference: then it is the nearer end of the
        range, or 1 where the heads do not differ at all.
    """
    from scipy.optimize import brentq

    target = float(task.likelihood.knowledge_of(validation.members_NMC, validation.members).mean())
    kept = _mean_knowledge(task, validation.heads_NMC.double(), weights_M)
    if kept(Scale(1.0)) <= _NO_DISAGREEMENT * target:
        return _no_disagreement()
    lowest, highest = SCALE_RANGE
    least = kept(Scale(lowest))
    most = kept(Scale(highest))
    if not least <= target <= most:
        bound = Scale(highest if most < target else lowest)
        return Fitted(
            bound, _off_size(task, f"ends at its bound {bound.scale:g}", min(max(target, least), most), target)
        )
    found: Any = brentq(lambda log: kept(Scale(math.exp(log))) - target, math.log(lowest), math.log(highest))
    return Fitted(Scale(math.exp(found)))


def fit_curve(
    task: Task, validation: Answered, views: Answered | None = None, weights_M: Sequence[float] | None = None
) -> Fitted:
    """Fit the curve that gives rows of every size of disagreement the members' mean.

    A knot stands for as many rows as any other, rows in the order of the heads' knowledge uncertainty, and has the mean
    of both sides; isotonic regression makes the knots rise. Views bring rows that members disagree about more, and
    count as much as the validation rows together. One factor then makes the mean of the validation rows exact.

    Args:
        task: whose outputs these are.
        validation: M >= 2 heads and the members that they imitate.
        views: the same on views of the validation rows.
        weights_M: of the heads in the student's mixture; None for equal ones.

    Returns:
        The curve, with a caveat where `SCALE_RANGE` does not let it reach the members' mean on the validation rows.
        Heads that do not differ at all get a scale of 1, and say so.
    """
    sets = [validation] if views is None else [validation, views]
    owns: list[np.ndarray] = []
    wanted: list[np.ndarray] = []
    for each in sets:
        heads = Members.weighted(weights_M, each.heads_NMC)
        owns.append(task.likelihood.knowledge_of(each.heads_NMC, heads).numpy())
        wanted.append(task.likelihood.knowledge_of(each.members_NMC, each.members).numpy())
    target = float(wanted[0].mean())
    if owns[0].mean() <= _NO_DISAGREEMENT * target:
        return _no_disagreement()
    if target <= _NO_DISAGREEMENT * owns[0].mean():
        return fit_scale(task, validation, weights_M)
    shares = np.concatenate([np.full(len(each), 1 / len(each)) for each in owns])
    curve = _knots(np.concatenate(owns), np.concatenate(wanted), shares)
    factor = target / float(curve.of(torch.from_numpy(owns[0])).mean())
    curve = Curve(curve.own, tuple(each * factor for each in curve.calibrated))
    kept = _mean_knowledge(task, validation.heads_NMC.double(), weights_M)(curve)
    if abs(kept / target - 1) > _TOLERANCE:
        return Fitted(curve, _off_size(task, "does not reach it", kept, target))
    return Fitted(curve)


def _knots(own_N: np.ndarray, wanted_N: np.ndarray, share_N: np.ndarray) -> Curve:
    """The curve through means of equally heavy groups of rows, made to rise."""
    from sklearn.isotonic import IsotonicRegression

    number = max(1, min(_MOST_KNOTS, len(own_N) // _ROWS_PER_KNOT))
    order = np.argsort(own_N, kind="stable")
    share_N = share_N[order]
    before_N = (np.cumsum(share_N) - share_N / 2) / share_N.sum()
    group_N = np.minimum((before_N * number).astype(np.int64), number - 1)
    weight_K = np.bincount(group_N, share_N)
    least = _NO_DISAGREEMENT * wanted_N.mean()
    means_K = [np.bincount(group_N, share_N * each[order]) / weight_K for each in (own_N, wanted_N)]
    own_K, wanted_K = (np.log(np.maximum(each, least)) for each in means_K)
    own_K, first_K = np.unique(own_K, return_index=True)
    rising = IsotonicRegression().fit_transform(own_K, wanted_K[first_K] - _LEAST_SLOPE * own_K)
    calibrated_K = rising + _LEAST_SLOPE * own_K
    return Curve(tuple(np.exp(own_K).tolist()), tuple(np.exp(calibrated_K).tolist()))


def _mean_knowledge(task: Task, heads_NMC: Tensor, weights_M: Sequence[float] | None) -> Callable[[Calibration], float]:
    """Mean knowledge uncertainty under a calibration."""
    heads = Members.weighted(weights_M, heads_NMC)
    return lambda each: float(task.likelihood.knowledge_of(each.applied(task, heads_NMC, heads), heads).mean())


def _no_disagreement() -> Fitted:
    return Fitted(Scale(1.0), "the heads do not differ, so no calibration can give their disagreement its size")


def _off_size(task: Task, how: str, kept: float, target: float) -> str:
    is_none = target <= _NO_DISAGREEMENT * kept
    share = "above the members', which is 0" if is_none else f"{kept / target:.3g} times the members'"
    knowledge = task.figures.knowledge.replace("_", " ")
    return f"calibration {how}, where the heads' {knowledge} is {share}"
