"""How often 95 % intervals of AUROC hold the true value where that is not a fixed model on many patients.

- **cross-validated**: five-fold, an outer test is predicted by a logistic regression on the other folds.
  ``interval`` should hold the mean AUROC of these five fitted models on fresh patients,
  ``interval_procedure`` the expectation of that mean over cohorts of this size.
- **subgroup**: a fixed model in a subgroup of so many patients, the fewest events among which are not judged.
  The interval should hold the model's AUROC in the subgroup's population.

``python -m benchmarks.procedure_coverage 1000 --workers 2``; equal arguments give equal figures.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from ehrbench import metrics
from ehrbench.app.composed.console import terminal
from ehrbench.core.types import FloatArray
from ehrbench.statistics.evaluation import evaluate
from ehrbench.statistics.fold_data import FoldData
from ehrbench.statistics.subgroups import MINIMUM_EACH
from tests.statistics.judging import BINARY, folds

AUROC = metrics.load("auroc")
N_FOLDS, N_COLUMNS, N_FRESH, N_REPLICATES = 5, 10, 20_000, 1000
PATIENTS, SUBGROUPS = 500, (30, 60, 120, 240)


def sample(rng: np.random.Generator, n: int) -> tuple[FloatArray, FloatArray]:
    """Columns (n, F), of which three tell something, and outcomes (n,), a fifth of them 1."""
    x = rng.normal(size=(n, N_COLUMNS))
    return x, (rng.random(n) < expit(x[:, :3] @ [0.8, 0.5, 0.3] - 1.7)).astype(float)


def cross_validated(seed: int) -> tuple[float, float, dict[str, float], dict[str, float]]:
    """Estimate, mean AUROC of the fitted models on fresh patients, and both intervals."""
    rng = np.random.default_rng([seed, 1])
    x, y = sample(rng, PATIENTS)
    fresh, outcome = sample(rng, N_FRESH)
    fold, judged, true = rng.permutation(PATIENTS) % N_FOLDS, [], []
    for k in range(N_FOLDS):
        model = LogisticRegression(C=0.1).fit(x[fold != k], y[fold != k])
        p = model.predict_proba(x[fold == k])[:, 1:]
        group, threshold = np.flatnonzero(fold == k), np.array([0.5])
        judged.append(FoldData(y[fold == k, None], p, group, threshold, n_train=int((fold != k).sum())))
        true.append(AUROC(outcome[:, None], model.predict_proba(fresh)[:, 1:], target=BINARY))
    found = evaluate(judged, [AUROC], BINARY, seed, n_replicates=N_REPLICATES)["auroc"]
    return found["mean"], float(np.mean(true)), found["interval"], found["interval_procedure"]


def subgroup(n: int, seed: int) -> tuple[float, dict[str, float]] | None:
    """Estimate and interval in one subgroup; None where it would not be judged."""
    (fold,) = folds(n=n, k=1, seed=seed)
    if min(fold.y.sum(), n - fold.y.sum()) < MINIMUM_EACH:
        return None
    judged = [FoldData(fold.y, fold.p, fold.group, np.array([0.5]))]
    found = evaluate(judged, [AUROC], BINARY, seed, n_replicates=N_REPLICATES)["auroc"]
    return found["mean"], found["interval"]


def share(intervals: list[dict[str, float]], truth: FloatArray) -> str:
    """Coverage among those that have an interval, its Monte Carlo error, and how many have none."""
    held = [i["low"] <= t <= i["high"] for i, t in zip(intervals, truth, strict=True) if i["low"] is not None]
    p = float(np.mean(held))
    none = len(intervals) - len(held)
    return f"{p:.3f} ± {np.sqrt(p * (1 - p) / len(held)):.3f}" + f", {none} without an interval" * (none > 0)


def main(replications: int, workers: int) -> None:
    steps = terminal()[1].step("coverage", 1 + len(SUBGROUPS))
    with ProcessPoolExecutor(workers) as pool, steps as bar:
        rows = list(pool.map(cross_validated, range(replications), chunksize=5))
        estimate, true = np.array([row[:2] for row in rows]).T
        expected = np.full(replications, true.mean())
        bar.advance()
        print(f"cross-validated, {PATIENTS} patients: said {estimate.mean():.4f}, true {true.mean():.4f}")
        print(f"  interval, of the fitted models on fresh patients: {share([r[2] for r in rows], true)}")
        print(f"  interval_procedure, of the procedure at this size: {share([r[3] for r in rows], expected)}")
        (population,) = folds(n=400_000, k=1, seed=1_000_000)
        truth = AUROC(population.y, population.p, target=BINARY)
        for n in SUBGROUPS:
            found = [r for r in pool.map(partial(subgroup, n), range(replications), chunksize=20) if r]
            said = share([r[1] for r in found], np.full(len(found), truth))
            print(f"subgroup of {n}, judged in {len(found)} of {replications} cohorts: {said}")
            bar.advance()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("replications", type=int)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    main(options.replications, options.workers)
