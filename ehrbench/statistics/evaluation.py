"""Evaluation: metrics of finished predictions, with their intervals.

A metric is computed on each test fold by itself and averaged over folds; ranks are never pooled over folds,
whose models differ. ``interval`` bootstraps groups within folds given the fitted models; where there are
several folds, ``interval_procedure`` speaks of the whole procedure (corrected resampled t).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ehrbench.core.digest import derive_seed
from ehrbench.core.errors import UndefinedMetric
from ehrbench.core.metric import Metric
from ehrbench.core.target import Target
from ehrbench.statistics.fold_data import FoldData
from ehrbench.statistics.intervals import group_bootstraps, resampled_t


def evaluate(
    folds: Sequence[FoldData],
    metrics: Sequence[Metric],
    target: Target,
    seed: int,
    *,
    n_replicates: int = 2000,
) -> dict[str, dict[str, Any]]:
    """Metric name -> {mean, sd, folds, interval, interval_procedure} or {undefined: why}.

    Equal seeds draw equal resamples, whatever the predictions, so that two models' intervals are paired.
    """
    seed = derive_seed(seed, "bootstrap")
    intervals = group_bootstraps(folds, metrics, target, seed=seed, n_replicates=n_replicates)
    results: dict[str, dict[str, Any]] = {}
    for metric in metrics:
        try:
            by_fold = [f.value(metric, target) for f in folds]
        except UndefinedMetric as error:
            results[metric.name] = {"undefined": str(error)}
            continue
        results[metric.name] = {
            "mean": float(np.mean(by_fold)),
            "sd": float(np.std(by_fold, ddof=1)) if len(by_fold) > 1 else None,
            "folds": by_fold,
            "interval": intervals[metric.name].to_dict(),
        }
        if len(folds) > 1 and all(f.n_train for f in folds):
            ratio = np.mean([len(np.unique(f.group)) for f in folds]) / np.mean([f.n_train for f in folds])
            procedure = resampled_t(by_fold, float(ratio)).within(metric.bounds(target))
            results[metric.name]["interval_procedure"] = procedure.to_dict()
    return results


def by_model(results: Mapping[str, Mapping[str, Any]], metric: Metric) -> list[tuple[str, float]]:
    """Models and their mean of one metric, best first; those without a value last."""
    rows = [(name, result.get(metric.name, {}).get("mean", float("nan"))) for name, result in results.items()]
    return sorted(rows, key=lambda row: (np.isnan(row[1]), -metric.gain(row[1])))
