"""Mean average precision: how high a unit's own classes stand in its ranking of all classes, over units.

For each unit with a positive class, the mean over its positive classes of the share of positives among the
classes ranked at least as high (average precision of one query, as in information retrieval; scikit-learn's
``label_ranking_average_precision_score``, "LRAP"). Defined whatever classes a fold lacks; the mean over
classes of each class's own average precision is AUPRC. For a multi-class target it is the mean reciprocal
rank. With one class it is 1 and says nothing.
"""

from __future__ import annotations

import numpy as np

from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray
from ehrbench.metrics._per_unit import UnitGain


class MeanAveragePrecision(UnitGain):
    """In (0, 1]; units without a known positive class are not counted."""

    name = "mean_average_precision"
    title = "Mean average precision"
    meaning = "how high one's own classes stand in the ranking of all classes, on average; 1 is best"

    def gains(self, y: FloatArray, p: FloatArray, target: Target) -> FloatArray:
        found = np.full(len(y), np.nan)
        for u in np.flatnonzero((y == 1).any(axis=1)):
            known = ~np.isnan(y[u])
            ranked, own = p[u, known], p[u, y[u] == 1]
            above = (own[None, :] >= own[:, None]).sum(axis=1)  # positives ranked at least as high
            found[u] = (above / (ranked[None, :] >= own[:, None]).sum(axis=1)).mean()
        return found
