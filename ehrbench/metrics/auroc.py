"""Area under the receiver operating characteristic: P(score of a positive > score of a negative), ties half.

The Mann–Whitney form (Hanley & McNeil 1982, Radiology 143:29). Several classes: one against the rest, macro.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ehrbench.core.metric import PairedTest
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray
from ehrbench.metrics._at_once import Weighted
from ehrbench.metrics._column import ColumnMetric, one_class, ratio
from ehrbench.metrics._ranking import Ranking


class AUROC(ColumnMetric):
    """In [0, 1]; 0.5 for predictions that tell nothing."""

    name = "auroc"
    title = "AUROC"
    meaning = (
        "chance that a case with the outcome has a higher risk than one without; 0.5 is guessing, 1 is best"
    )
    paired_test: ClassVar[PairedTest] = "delong"
    fewest_events: ClassVar[int] = 30

    def bounds(self, target: Target) -> tuple[float, float]:
        return 0.0, 1.0

    def column(self, y: FloatArray, p: FloatArray, threshold: float) -> Weighted:
        ranking = Ranking(y, p)

        def values(weights: FloatArray) -> FloatArray:
            positives = ranking.positives(weights)
            below, not_above, negatives = ranking.negatives_below(weights)
            won = np.einsum("rn,rn->r", positives, below)
            if not_above is not below:
                won = (won + np.einsum("rn,rn->r", positives, not_above)) / 2
            return ratio(won, positives.sum(axis=1) * negatives)

        return values

    def problem(self, y: FloatArray, p: FloatArray, threshold: float) -> str:
        return one_class(y)
