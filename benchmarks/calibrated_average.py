"""A calibrator fitted on single inner models' out-of-fold predictions, applied to what predicts in the end.

Calibration slope on fresh records (1 is ideal) and log loss, as it is and after Platt's calibrator, of the
average of five inner models (``refit=inner``) and of one model fitted on all records (``refit=full``).
``python -m benchmarks.calibrated_average 12``: so many simulated cohorts of 600 patients, a second each.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.special import expit
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from ehrbench import metrics
from ehrbench.core.types import FloatArray
from ehrbench.ensemble.platt import Platt
from tests.statistics.judging import BINARY

N_INNER, N_COLUMNS, N_FRESH = 5, 20, 20_000
MODELS = {
    "logistic": lambda seed: LogisticRegression(C=1e6),
    "boosted": lambda seed: GradientBoostingClassifier(
        n_estimators=60, max_depth=4, subsample=0.5, random_state=seed
    ),
}


def judged(kind: str, n: int, seed: int) -> tuple[float, ...]:
    """Slope and log loss as it is, then calibrated: of the average, then of the one model."""
    rng = np.random.default_rng(seed)
    effect = 0.4 * rng.normal(size=N_COLUMNS) * (np.arange(N_COLUMNS) < 8)

    def sample(n: int) -> tuple[FloatArray, FloatArray]:
        x = rng.normal(size=(n, N_COLUMNS))
        return x, (rng.random(n) < expit(x @ effect - 1.2)).astype(float)

    (x, y), (fresh, outcome) = sample(n), sample(N_FRESH)
    fold, held, scores = rng.permutation(n) % N_INNER, np.empty(n), []
    for j in range(N_INNER):
        model = MODELS[kind](seed).fit(x[fold != j], y[fold != j])
        held[fold == j] = model.predict_proba(x[fold == j])[:, 1]
        scores.append(BINARY.scores(model.predict_proba(fresh)[:, 1:]))
    average = BINARY.probabilities(np.mean(scores, axis=0))
    alone = MODELS[kind](seed).fit(x, y).predict_proba(fresh)[:, 1:]
    calibrator = Platt().fit(held[:, None], y[:, None], target=BINARY)
    return tuple(
        metrics.load(name)(outcome[:, None], p, target=BINARY)
        for p in (average, calibrator.apply(average), alone, calibrator.apply(alone))
        for name in ("calibration_slope", "log_loss")
    )


def main(replications: int, n: int) -> None:
    for kind in MODELS:
        found = np.mean([judged(kind, n, s) for s in range(replications)], axis=0).reshape(2, 2, 2)
        for refit, ((slope, loss), (slope_after, loss_after)) in zip(("inner", "full"), found, strict=True):
            print(
                f"{kind:8} refit={refit:5} as it is: slope {slope:.2f}, log loss {loss:.4f}; "
                f"calibrated: {slope_after:.2f}, {loss_after:.4f}"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("replications", type=int)
    parser.add_argument("--patients", type=int, default=600)
    options = parser.parse_args()
    main(options.replications, options.patients)
