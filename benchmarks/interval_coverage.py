"""How often the 95 % group-bootstrap intervals of a fixed model hold the true value.

Simulated cohorts of 700 patients with about 156 events; the truth is the mean over 6,000 further cohorts.
``python -m benchmarks.interval_coverage 2000`` runs that many replications; names of metrics may follow.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from ehrbench import metrics
from ehrbench.app.console import terminal
from ehrbench.spine.intervals import group_bootstraps
from tests.spine.judging import BINARY, folds

METRICS = ("auroc", "auprc", "brier", "log_loss", "calibration_slope")


def main(replications: int, names: Sequence[str]) -> None:
    chosen = [metrics.load(name) for name in names]
    others = [folds(n=700, k=1, seed=50_000 + s)[0] for s in range(6000)]
    truth = {m.name: np.mean([m(f.y, f.p, target=BINARY) for f in others]) for m in chosen}
    print(f"events a cohort: {np.mean([f.y.sum() for f in others]):.0f}; replications: {replications}")
    inside, below, above = (dict.fromkeys(names, 0) for _ in range(3))
    with terminal()[1].step("coverage", replications) as bar:
        for s in range(replications):
            found = group_bootstraps(folds(n=700, k=1, seed=s), chosen, BINARY, seed=s, n_replicates=1000)
            for name, interval in found.items():
                if interval.low is None or interval.high is None:
                    continue
                below[name] += truth[name] < interval.low
                above[name] += truth[name] > interval.high
                inside[name] += interval.low <= truth[name] <= interval.high
            bar.advance()
            bar.note("  ".join(f"{name} {count / (s + 1):.3f}" for name, count in inside.items()))
    for name in names:
        shares = [counts[name] / replications for counts in (inside, below, above)]
        print(f"{name:18} inside {shares[0]:.4f}  truth below {shares[1]:.4f}  truth above {shares[2]:.4f}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:] or METRICS)
