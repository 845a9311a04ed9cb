"""Simulated out-of-fold scores of members that each know a part of the truth."""

from __future__ import annotations

import numpy as np

from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray, IntArray

BINARY = Target("binary", ("death",))
MULTILABEL = Target("multilabel", ("effusion", "oedema"))
MULTICLASS = Target("multiclass", ("n", "v", "s"))
TARGETS = {t.kind: t for t in (BINARY, MULTILABEL, MULTICLASS)}


def members(
    target: Target = BINARY, n: int = 1500, seed: int = 0
) -> tuple[dict[str, FloatArray], FloatArray, IntArray]:
    """Scores of three models, labels (n, C) and inner folds (n,). The second is off by a shift."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, n, target.n_classes))
    truth = target.probabilities(1.2 * a + 1.0 * b - 1.5)
    if target.kind == "multiclass":
        y = np.eye(target.n_classes)[[rng.choice(target.n_classes, p=row) for row in truth]]
    else:
        y = (rng.random(truth.shape) < truth).astype(float)

    def noise(size: float) -> FloatArray:
        return size * rng.normal(size=a.shape)

    scores = {
        "ssm": 1.3 * a + 0.3 * b - 1.5 + noise(0.7),
        "lstm": 1.0 * a + 0.5 * b + 0.5 + noise(0.7),
        "lightgbm": 0.5 * a + 1.0 * b - 1.4 + noise(0.5),
    }
    return scores, y, rng.integers(0, 5, n)
