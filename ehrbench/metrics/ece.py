"""Expected calibration error over 15 equal-width bins: Σ_b n_b/n · |mean y − mean p| (Guo et al. 2017).

The bins are [0, 1/15), [1/15, 2/15), … [14/15, 1] of the predicted probability of the class itself, not of
the most probable one; several classes: macro. It depends on its bins, and is biased upwards in small samples.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray
from ehrbench.metrics._column import SumsMetric, ratio

N_BINS = 15


class ECE(SumsMetric):
    """In [0, 1], lower is better."""

    name = "ece"
    title = f"ECE ({N_BINS} equal-width bins)"
    meaning = (
        "expected calibration error: mean distance of predicted and observed share over the bins of "
        "probability; 0 is best"
    )
    greater_is_better: ClassVar[bool] = False
    depends_on_mix: ClassVar[bool] = True
    #: (N_BINS + 1,) where the bins begin and end; a bin holds its lower edge, the last one both.
    edges: ClassVar[FloatArray] = np.linspace(0, 1, N_BINS + 1)

    def bounds(self, target: Target) -> tuple[float, float]:
        return 0.0, 1.0

    def terms(self, y: FloatArray, p: FloatArray, threshold: float) -> FloatArray:
        bins = np.clip(np.searchsorted(self.edges, p, "right") - 1, 0, N_BINS - 1)
        terms = np.zeros((len(y), N_BINS + 1))
        terms[np.arange(len(y)), bins] = y - p
        terms[:, -1] = 1
        return terms

    def of_sums(self, sums: FloatArray, threshold: float) -> FloatArray:
        return ratio(np.abs(sums[:, :-1]).sum(axis=1), sums[:, -1])

    def problem(self, y: FloatArray, p: FloatArray, threshold: float) -> str:
        return "there is no unit with a known label"
