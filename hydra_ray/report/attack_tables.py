"""What attacks left right, and whose adversarial rows fooled whom, as tables of text, and what was tried in words.

All is taken from "robustness" in metrics.json; a report that tried no attack has none of it.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra_ray.report.formats import percent
from hydra_ray.report.inputs import ENSEMBLE
from hydra_ray.report.tables import TextTable

MOST_MEMBERS = 10
"""Of which the matrix of transfer is shown; metrics.json has it of any number."""
_LOSSES = {"ce": "cross-entropy", "cw": "CW"}


def attack_tables(metrics: Mapping[str, Any]) -> list[TextTable]:
    """Accuracy that is left, and transfer between ensemble and students; none where no attack was tried."""
    tables = (robust_accuracy_table(metrics), _transfer_table(metrics))
    return [table for table in tables if table.rows]


def robust_accuracy_table(metrics: Mapping[str, Any]) -> TextTable:
    """One row an attack, one column a predictor."""
    found = metrics.get("robustness", {})
    names = list(found.get("clean", {}))
    rows = [("none", *(percent(found["clean"][name]) for name in names))] if found else []
    rows += [(attack, *(percent(of[name]) for name in names)) for attack, of in _attacks(found, "robust_accuracy")]
    return TextTable("Accuracy under attack", ("attack", *names), tuple(rows))


def member_transfer_tables(metrics: Mapping[str, Any]) -> list[TextTable]:
    """How often rows made against one member fool another: a table for each attack, or of many members one of means."""
    found = [(attack, of) for attack, of in _attacks(metrics.get("robustness", {}), "member_transfer") if len(of) > 1]
    if found and len(found[0][1]) > MOST_MEMBERS:
        rows = tuple((attack, *_mean_and_range(of)) for attack, of in found)
        return [TextTable("Members that rows made against another fool", ("attack", "mean", "lowest", "highest"), rows)]
    return [
        TextTable(
            f"Members that rows made against another fool: {attack}",
            ("made against", *(f"fools {number}" for number in range(len(of)))),
            tuple((f"member {number}", *map(percent, shares)) for number, shares in enumerate(of)),
        )
        for attack, of in found
    ]


def _mean_and_range(of: Sequence[Sequence[float | None]]) -> tuple[str, str, str]:
    """Over all pairs of two members that any row is counted of."""
    pairs = [share for row, shares in enumerate(of) for column, share in enumerate(shares) if column != row]
    shares = [share for share in pairs if share is not None]
    if not shares:
        return percent(None), percent(None), percent(None)
    return percent(statistics.fmean(shares)), percent(min(shares)), percent(max(shares))


def attack_note(metrics: Mapping[str, Any]) -> str:
    """What was tried, and that nothing more is claimed; empty where no attack was."""
    if "robustness" not in metrics:
        return ""
    tried = metrics["robustness"]["tried"]
    steps = f"{tried['steps']} steps of {tried['step_size']:g} eps"
    losses = " and ".join(_LOSSES[loss] for loss in tried["losses"])
    confidence = f" (confidence {tried['confidence']:g})" if "cw" in tried["losses"] else ""
    how = {
        "fgsm": "FGSM, one step",
        "pgd": f"PGD, {steps} from {tried['restarts']} random starts for each loss: {losses}{confidence}",
        "mim": f"MIM, {steps} with momentum {tried['decay']:g}",
    }
    return (
        f"Tried, with the networks' own gradients, on {tried['rows']:,} test rows: "
        f"{'; '.join(how[kind] for kind in tried['kinds'])}. No pixel is changed by more than eps, where pixels are "
        "between 0 and 1. A row is lost if it was wrong before or if any start or loss succeeds. An ensemble is "
        "attacked as the mean of its members' probabilities, a student as that of its heads without calibration. "
        "Transfer: of the rows that both answer right, the share made against the one that fools the other. "
        "Nothing is claimed beyond these attacks: stronger ones break more, and ensembles trained by ADP or TRS that "
        "withstood weak attacks have fallen to stronger ones."
    )


def _transfer_table(metrics: Mapping[str, Any]) -> TextTable:
    """One row an attack, one column a student, both ways in a cell."""
    found = list(_attacks(metrics.get("robustness", {}), "transfer"))
    students = [name for name in found[0][1] if name != ENSEMBLE] if found else []
    rows = [(attack, *(_both_ways(of, name) for name in students)) for attack, of in found if students]
    title = "Rows made against the student that fool the ensemble / the other way round"
    return TextTable(title, ("attack", *students), tuple(rows))


def _both_ways(of: Mapping[str, Any], student: str) -> str:
    return f"{percent(of[student][ENSEMBLE], 1)} / {percent(of[ENSEMBLE][student], 1)}"


def _attacks(found: Mapping[str, Any], what: str) -> Iterator[tuple[str, Any]]:
    """Each attack's name and its value."""
    for kind, sizes in found.get(what, {}).items():
        for eps, value in sizes.items():
            yield f"{kind.upper()}, eps {eps}", value
