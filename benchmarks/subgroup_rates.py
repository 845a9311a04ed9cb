"""How often a gap between subgroups has p < 0.05 where they differ in nothing but their size.

A perfectly calibrated model, an event in four. ``python -m benchmarks.subgroup_rates 500 600 60`` tests
that many cohorts of a group of 600 and one of 60, 0.2 s of one core each; ``--folds`` parts them into several
outer tests.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from scipy.special import expit

from ehrbench import metrics
from ehrbench.core.types import StrArray
from ehrbench.statistics.fold_data import FoldPredictions
from ehrbench.statistics.subgroups import by_subgroup, gaps
from tests.statistics.judging import BINARY

METRICS = (
    *("auroc", "sensitivity", "specificity", "balanced_accuracy", "calibration_slope"),
    *("calibration_intercept", "ece", "auprc", "brier"),
)


def cohort(
    sizes: Sequence[int], n_folds: int, seed: int
) -> tuple[list[FoldPredictions], dict[str, StrArray]]:
    """Folds of one model, and each record's group."""
    rng, n = np.random.default_rng(seed), sum(sizes)
    p = expit(1.2 * rng.normal(size=n) - 1.5)
    y, fold = (rng.random(n) < p).astype(float), rng.permutation(n) % n_folds
    parts = []
    for k in range(n_folds):
        at = np.flatnonzero(fold == k)
        said, cut = {"model": p[at, None]}, {"model": np.array([0.3])}
        parts.append(FoldPredictions(str(k), at, 0 * at, at, y[at, None], said, cut, n - len(at), len(at)))
    return parts, {"size": np.repeat([f"of {size}" for size in sizes], sizes)}


def main(replications: int, sizes: Sequence[int], n_folds: int) -> None:
    chosen = [metrics.load(name) for name in METRICS]
    called, tested = (dict.fromkeys(METRICS, 0) for _ in range(2))
    for seed in range(replications):
        folds, families = cohort(sizes, n_folds, seed)
        groups = by_subgroup(folds, families, "model", chosen, BINARY, seed=seed, n_bootstrap=200)
        for gap in gaps(groups, chosen, BINARY):
            tested[gap.metric] += gap.p_value is not None
            called[gap.metric] += gap.p_value is not None and gap.p_value < 0.05
    for name in METRICS:
        rate = f"{called[name] / tested[name]:.3f} of {tested[name]}" if tested[name] else "not tested"
        print(f"{name:22} {rate}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("replications", type=int)
    parser.add_argument("sizes", type=int, nargs="+")
    parser.add_argument("--folds", type=int, default=1)
    options = parser.parse_args()
    main(options.replications, options.sizes, options.folds)
