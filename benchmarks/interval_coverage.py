"""How often the 95 % group-bootstrap intervals of a fixed model hold the true value.

Simulated cohorts of 700 patients with about 156 events; the truth is the mean over 6,000 further cohorts.
``python -m benchmarks.interval_coverage 2000`` runs that many replications, 0.1 s of one core each, over as
many processes as ``--workers`` says; ``--metrics`` names others.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np

from ehrbench import metrics
from ehrbench.app.console import terminal
from ehrbench.statistics.intervals import Interval, group_bootstraps
from tests.statistics.judging import BINARY, folds

METRICS = ("auroc", "auprc", "brier", "log_loss", "calibration_slope")
N_PATIENTS, N_TRUTH = 700, 6000


def intervals(names: Sequence[str], seed: int) -> dict[str, Interval]:
    """Of one simulated cohort."""
    chosen = [metrics.load(name) for name in names]
    return group_bootstraps(folds(n=N_PATIENTS, k=1, seed=seed), chosen, BINARY, seed=seed, n_replicates=1000)


def values(names: Sequence[str], seed: int) -> list[float]:
    """Number of events, then the metrics, of another simulated cohort."""
    (fold,) = folds(n=N_PATIENTS, k=1, seed=50_000 + seed)
    return [fold.y.sum(), *(metrics.load(name)(fold.y, fold.p, target=BINARY) for name in names)]


def main(replications: int, names: Sequence[str], workers: int) -> None:
    inside, below, above, none = (dict.fromkeys(names, 0) for _ in range(4))
    with ProcessPoolExecutor(workers) as pool, terminal()[1].step("coverage", replications) as bar:
        others = np.mean(list(pool.map(partial(values, names), range(N_TRUTH), chunksize=100)), axis=0)
        truth = dict(zip(names, others[1:], strict=True))
        for found in pool.map(partial(intervals, names), range(replications), chunksize=5):
            for name, interval in found.items():
                if interval.low is None or interval.high is None:
                    none[name] += 1
                    continue
                below[name] += truth[name] < interval.low
                above[name] += truth[name] > interval.high
                inside[name] += interval.low <= truth[name] <= interval.high
            bar.advance()
    print(f"events a cohort: {others[0]:.0f}; replications: {replications}")
    for name in names:
        shares = [counts[name] / replications for counts in (inside, below, above, none)]
        print(
            f"{name:18} inside {shares[0]:.4f}  truth below {shares[1]:.4f}  above {shares[2]:.4f}  "
            f"no interval {shares[3]:.4f}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("replications", type=int)
    parser.add_argument("--metrics", nargs="+", default=METRICS)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    main(options.replications, options.metrics, options.workers)
