"""Log loss: mean negative log likelihood of the outcome, in nats.

Binary and multi-label: −y log p − (1 − y) log(1 − p), macro over labels. Multi-class: −log p of the true
class. Probabilities are held 2.2e-16 (float64's epsilon) from 0 and 1, as scikit-learn does: a certain and
wrong prediction costs 36 nats and not everything.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray
from ehrbench.metrics._column import UnitMean

_EPS = float(np.finfo(np.float64).eps)


class LogLoss(UnitMean):
    """Lower is better."""

    name = "log_loss"
    title = "Log loss"
    meaning = (
        "mean of −log of the probability that was given to what happened, so that confident errors cost "
        "most; 0 is best"
    )
    depends_on_mix: ClassVar[bool] = True
    by_class: ClassVar[bool] = True

    def loss(self, y: FloatArray, p: FloatArray, target: Target) -> FloatArray:
        p = np.clip(p, _EPS, 1 - _EPS)
        if target.kind == "multiclass":
            return np.asarray(-(y * np.log(p)).sum(axis=1, keepdims=True))
        loss = -np.where(y == 1, np.log(p), np.log1p(-p))
        return np.where(np.isnan(y), np.nan, loss)
