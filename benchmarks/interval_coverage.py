"""How often the 95 % group-bootstrap intervals of a fixed model hold the true value.

Simulated cohorts of 700 patients with about 156 events; the truth is the mean over 6,000 further cohorts.
``python -m benchmarks.interval_coverage 2000`` runs that many replications, 0.1 s of one core each, over as
many processes as ``--workers`` says; ``--metrics`` names others, and ``--positives 5 7 10`` takes cohorts
with so many events on average, one patient in nine, where intervals are hardest to get right.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial

import numpy as np

from ehrbench import metrics
from ehrbench.app.composed.console import terminal
from ehrbench.core.errors import UndefinedMetric
from ehrbench.statistics.fold_data import FoldData
from ehrbench.statistics.intervals import Interval, group_bootstraps
from tests.statistics.judging import BINARY, folds

METRICS = ("auroc", "auprc", "brier", "log_loss", "calibration_slope")
N_PATIENTS, N_TRUTH, OTHERS = 700, 6000, 8


def cohort(positives: int | None, seed: int) -> FoldData:
    """One simulated cohort; or one with so many events on average, and two at least, one patient in nine."""
    if positives is None:
        return folds(n=N_PATIENTS, k=1, seed=seed)[0]
    (many,) = folds(n=200 + 16 * positives, k=1, seed=seed)
    events = many.y[:, 0] == 1
    n = (OTHERS + 1) * positives
    n_events = max(int(np.random.default_rng(seed).binomial(n, positives / n)), 2)
    kept = np.r_[np.flatnonzero(events)[:n_events], np.flatnonzero(~events)[: n - n_events]]
    return FoldData(many.y[kept], many.p[kept], many.group[kept], many.threshold)


def intervals(names: Sequence[str], positives: int | None, seed: int) -> dict[str, Interval]:
    """Of one simulated cohort."""
    chosen = [metrics.load(name) for name in names]
    return group_bootstraps([cohort(positives, seed)], chosen, BINARY, seed=seed, n_replicates=1000)


def values(names: Sequence[str], positives: int | None, seed: int) -> list[float]:
    """Number of events, then the metrics, of another simulated cohort; NaN where one has no value."""
    fold, found = cohort(positives, 50_000 + seed), []
    for name in names:
        try:
            found.append(fold.value(metrics.load(name), BINARY))
        except UndefinedMetric:
            found.append(float("nan"))
    return [float(fold.y.sum()), *found]


def main(replications: int, names: Sequence[str], sizes: Sequence[int | None], workers: int) -> None:
    with ProcessPoolExecutor(workers) as pool, terminal()[1].step("coverage", len(sizes)) as bar:
        for positives in sizes:
            measure(pool, replications, names, positives)
            bar.advance()


def measure(pool: Executor, replications: int, names: Sequence[str], positives: int | None) -> None:
    """Print the shares of one size; coverage is among those that have an interval."""
    inside, below, above, none = (dict.fromkeys(names, 0) for _ in range(4))
    others = np.nanmean(
        list(pool.map(partial(values, names, positives), range(N_TRUTH), chunksize=100)), axis=0
    )
    truth = dict(zip(names, others[1:], strict=True))
    for found in pool.map(partial(intervals, names, positives), range(replications), chunksize=5):
        for name, interval in found.items():
            if interval.low is None or interval.high is None:
                none[name] += 1
                continue
            below[name] += truth[name] < interval.low
            above[name] += truth[name] > interval.high
            inside[name] += interval.low <= truth[name] <= interval.high
    print(f"events a cohort: {others[0]:.0f}; replications: {replications}", flush=True)
    for name in names:
        shares = [n[name] / max(replications - none[name], 1) for n in (inside, below, above)]
        print(
            f"{name:22} inside {shares[0]:.4f}  truth below {shares[1]:.4f}  above {shares[2]:.4f}  "
            f"no interval {none[name] / replications:.4f}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("replications", type=int)
    parser.add_argument("--metrics", nargs="+", default=METRICS)
    parser.add_argument("--positives", nargs="+", type=int, default=[None])
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    main(options.replications, options.metrics, options.positives, options.workers)
