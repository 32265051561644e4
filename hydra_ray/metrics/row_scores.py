"""What one predictor says of every row of a split, as plain arrays: what pictures are drawn from.

No torch and no figure of a whole split (`classification.py`). N rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class RowScores:
    """Uncertainties and errors of rows; what the task or the split does not have is None.

    Attributes:
        total: [N], total uncertainty: entropy H[mean p], nats; in a regression the variance of the mixture.
        data: [N], data uncertainty: mean H[p], nats; mean variance.
        knowledge: [N], knowledge uncertainty: mutual information, nats; variance of means. None for a single head.
        error: [N], 1 where the most probable class is not the label, else 0; squared error. None without labels.
        confidence: [N], top probability, in [0, 1]; classification alone.
        interval_level: [N], probability of the smallest central interval that holds the target, in [0, 1]; regression
            alone, None without labels.
    """

    total: np.ndarray
    data: np.ndarray
    knowledge: np.ndarray | None = None
    error: np.ndarray | None = None
    confidence: np.ndarray | None = None
    interval_level: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Check the shapes.

        Raises:
            ValueError: the arrays are not all [N], N > 0.
        """
        shapes = {name: value.shape for name, value in vars(self).items() if value is not None}
        if len(set(shapes.values())) != 1 or self.total.ndim != 1 or not len(self.total):
            raise ValueError(f"row scores need arrays of one shape [N], N > 0, got {shapes}")
