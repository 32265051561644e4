"""`thresholds.json`: rules for when not to trust a student, fitted on validation rows and stored beside its weights.

Up to which uncertainty to answer at a risk, which classes or values to answer with at a coverage, and how uncertain
ordinary rows are. How each is fitted is in `metrics/selective.py`; which of them a task has, in `answering.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from hydra_ray.errors import UserError
from hydra_ray.metrics import Selection
from hydra_ray.storage import as_json

SCHEMA = 1
RISKS = (0.01, 0.02, 0.05)
"""Shares of wrong answers for which thresholds are fitted."""
COVERAGES = (0.9, 0.95)
"""Shares of rows whose set or interval holds the truth."""
QUANTILES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Of the uncertainties of validation rows; more rows above the last than it leaves are a sign of drift."""
ASSUMES = (
    "Bounds and coverages hold for rows that are drawn as the validation rows were, and independently. Thresholds are "
    "chosen on one half of the validation rows, risks and their bounds are measured on the other. For rows of another "
    "kind, unknown ones among them, nothing is promised: there knowledge uncertainty is the thing to look at."
)

_Quantiles = dict[float, float]


@dataclass(frozen=True)
class Thresholds:
    """The content of thresholds.json.

    Attributes:
        num_rows: validation rows they are fitted on.
        risks: accepted share of wrong answers -> score ("total", "knowledge") -> the threshold on it; empty in a
            regression, where no answer is simply wrong.
        conformal: coverage -> method -> quantile of its conformity scores, None where there are too few rows.
        quantiles: score -> share of validation rows -> the score that this share is at most.
    """

    num_rows: int
    risks: Mapping[float, Mapping[str, Selection]]
    conformal: Mapping[float, Mapping[str, float | None]]
    quantiles: Mapping[str, _Quantiles]

    def at_risk(self, risk: float, score: str) -> float | None:
        """The largest `score` that is answered at a risk; None where no row may be.

        Raises:
            UserError: none was fitted for this risk, or for this score.
        """
        _check_known("risk", risk, self.risks)
        _check_known("score", score, self.risks[risk])
        return self.risks[risk][score].threshold

    def at_coverage(self, coverage: float, method: str) -> float | None:
        """The conformal quantile of a method; None where nothing can be excluded.

        Raises:
            UserError: none was fitted for this coverage, or for this method.
        """
        _check_known("coverage", coverage, self.conformal)
        _check_known("method", method, self.conformal[coverage])
        return self.conformal[coverage][method]

    def drift_limit(self, score: str) -> float | None:
        """The score that 1 % of the validation rows are above; None where the student has no such score."""
        return self.quantiles.get(score, {}).get(QUANTILES[-1])

    def to_json(self) -> dict[str, Any]:
        """The content of the file."""
        return as_json(
            {
                "schema": SCHEMA,
                "num_rows": self.num_rows,
                "assumes": ASSUMES,
                "risks": {
                    str(risk): {score: found._asdict() for score, found in each.items()}
                    for risk, each in self.risks.items()
                },
                "conformal": {str(coverage): dict(each) for coverage, each in self.conformal.items()},
                "quantiles": {
                    score: {str(share): value for share, value in each.items()}
                    for score, each in self.quantiles.items()
                },
            }
        )

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The thresholds in the content of a file.

        Raises:
            UserError: it is of another version, or none.
        """
        try:
            if content["schema"] != SCHEMA:
                raise UserError(f"thresholds.json: schema {content['schema']}, known is {SCHEMA}; distil again")
            return cls(
                content["num_rows"],
                {
                    float(risk): {score: Selection(**found) for score, found in each.items()}
                    for risk, each in content["risks"].items()
                },
                {float(coverage): dict(each) for coverage, each in content["conformal"].items()},
                {score: {float(share): x for share, x in each.items()} for score, each in content["quantiles"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"thresholds.json: holds no thresholds ({error}); distil the student again") from None


def _check_known(word: str, value: Any, known: Mapping[Any, Any]) -> None:
    if value not in known:
        has = ", ".join(str(each) for each in known) or "none"
        raise UserError(f"{word}={value}: no thresholds were fitted for it; there are: {has}")
