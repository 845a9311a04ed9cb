"""Area under the precision–recall curve as average precision: Σ (R_n − R_{n−1}) P_n over distinct scores.

No interpolation (that is too optimistic; Davis & Goadrich 2006); the same number as scikit-learn's
``average_precision_score``. Several classes: one against the rest, macro.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray
from ehrbench.metrics._at_once import Weighted
from ehrbench.metrics._column import ColumnMetric, one_class, ratio
from ehrbench.metrics._ranking import Ranking


class AUPRC(ColumnMetric):
    """In (0, 1]; the prevalence for predictions that tell nothing."""

    name = "auprc"
    title = "AUPRC"
    meaning = (
        "PPV averaged over all sensitivities (average precision); guessing gives the share of positives, "
        "1 is best"
    )
    depends_on_mix: ClassVar[bool] = True
    fewest_events: ClassVar[int] = 40

    def bounds(self, target: Target) -> tuple[float, float]:
        return 0.0, 1.0

    def column(self, y: FloatArray, p: FloatArray, threshold: float) -> Weighted:
        ranking = Ranking(y, p)

        def values(weights: FloatArray) -> FloatArray:
            positives = ranking.positives(weights)
            below, _, negatives = ranking.negatives_below(weights)
            true = ranking.positives_from(
                positives
            )  # (R, n1) called positive rightly at each positive's score
            called = true + (negatives[:, None] - below)
            precision = np.divide(true, called, out=np.zeros_like(true), where=called > 0)
            total = np.einsum("rn,rn->r", positives, precision)
            return np.where(negatives > 0, ratio(total, positives.sum(axis=1)), np.nan)

        return values

    def problem(self, y: FloatArray, p: FloatArray, threshold: float) -> str:
        return one_class(y)
