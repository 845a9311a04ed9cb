"""Simulated test folds, as one or two models predict them."""

from __future__ import annotations

import numpy as np

from ehrbench.core.target import Target
from ehrbench.statistics.fold_data import FoldData

BINARY = Target("binary", ("death",))


def folds(
    n: int = 600, k: int = 3, *, noise: float = 0.5, seed: int = 0, units_a_group: int = 1
) -> list[FoldData]:
    """k folds of n units each; the same seed gives the same units, whatever the noise of the predictions."""
    rng = np.random.default_rng(seed)
    out = []
    for f in range(k):
        group = np.arange(n) // units_a_group
        truth = rng.normal(size=n) + rng.normal(size=n)[group] * (units_a_group > 1) - 1.5
        y = (rng.random(n) < 1 / (1 + np.exp(-truth))).astype(float)
        score = truth + noise * rng.normal(size=n)
        p = 1 / (1 + np.exp(-score))
        out.append(FoldData(y[:, None], p[:, None], group + 10_000 * f, np.array([0.3])))
    return out
