"""Values of metrics over the folds in which they have one, with intervals; the other folds are counted.

For parts of a cohort, a subgroup or a rare class, that not every fold has enough of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from ehrbench.core.digest import derive_seed
from ehrbench.core.errors import UndefinedMetric
from ehrbench.core.metric import Metric
from ehrbench.core.target import Target
from ehrbench.statistics.fold_data import FoldData
from ehrbench.statistics.intervals import Interval, interval_on
from ehrbench.statistics.resampling import Resampled, resample

#: Above this many units a jackknife over ``BLOCKS`` takes the bootstrap's place: seconds instead of minutes.
MOST_BOOTSTRAPPED, BLOCKS = 40_000, 200
Z = float(stats.norm.ppf(0.975))


@dataclass(frozen=True)
class Value:
    """A metric's mean over the folds that have it, or ``undefined`` saying why none has."""

    mean: float | None = None
    interval: Interval | None = None
    standard_error: float | None = None
    folds_used: int = 0
    undefined: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-like: mean, interval and folds_used, or undefined."""
        if self.mean is None:
            return {"undefined": self.undefined}
        interval = self.interval.to_dict() if self.interval else None
        return {"mean": self.mean, "interval": interval, "folds_used": self.folds_used}


def values_where_defined(
    data: Sequence[FoldData],
    metrics: Sequence[Metric],
    target: Target,
    *,
    names: Sequence[str],
    seed: int,
    n_replicates: int,
) -> dict[str, Value]:
    """Metric -> value; metrics that have one in the same folds share their draws. names: of the folds."""
    found: dict[str, Value] = {}
    alike: dict[tuple[int, ...], list[Metric]] = {}
    for metric in metrics:
        usable, why = _usable(data, metric, target, names)
        if usable:
            alike.setdefault(usable, []).append(metric)
        else:
            found[metric.name] = Value(undefined=why)
    for usable, together in alike.items():
        some = [data[k] for k in usable]
        if sum(len(f.y) for f in some) > MOST_BOOTSTRAPPED:
            found |= {m.name: _jackknife(some, m, target, seed) for m in together}
            continue
        try:
            resampled = resample(some, together, target, seed=seed, n_replicates=n_replicates)
        except UndefinedMetric as error:
            found |= {m.name: Value(undefined=str(error)) for m in together}
        else:
            found |= {m.name: _value(some, m, target, resampled[m.name]) for m in together}
    return found


def by_class(
    data: Sequence[FoldData],
    metrics: Sequence[Metric],
    target: Target,
    *,
    names: Sequence[str],
    seed: int,
    n_replicates: int,
    columns: Sequence[int] | None = None,
) -> dict[str, dict[str, Value]]:
    """Class -> metric -> value of that class against the rest, of the metrics that have one for each class.

    columns: of the classes asked for; all of them unless given, those that are not scored among them.
    """
    chosen = [m for m in metrics if m.by_class]
    found = {}
    for c in range(target.n_classes) if columns is None else columns:
        name = target.classes[c]
        found[name] = values_where_defined(
            [fold.alone(c) for fold in data],
            chosen,
            target.alone(c),
            names=names,
            seed=derive_seed(seed, "class", name),
            n_replicates=n_replicates,
        )
    return found


def _usable(
    data: Sequence[FoldData], metric: Metric, target: Target, names: Sequence[str]
) -> tuple[tuple[int, ...], str]:
    """Folds in which the metric has a value, and why it has none in the others."""
    usable, why = [], ""
    for k, fold in enumerate(data):
        if not len(fold.y):
            why = f"{metric.name}: no record in fold {names[k]}"
            continue
        try:
            fold.value(metric, target)
            usable.append(k)
        except UndefinedMetric as error:
            why = str(error)
    return tuple(usable), why


def _value(
    data: Sequence[FoldData], metric: Metric, target: Target, resampled: Resampled | UndefinedMetric
) -> Value:
    if isinstance(resampled, UndefinedMetric):
        return Value(undefined=str(resampled))
    interval = interval_on(data, metric, target, resampled)
    spread = None  # of the replicates that happen to be defined would say too little
    if interval.low is not None:
        spread = float(np.nanstd(resampled.replicates, ddof=1))
    return Value(float(resampled.value), interval, spread, len(data))


def _jackknife(folds: Sequence[FoldData], metric: Metric, target: Target, seed: int) -> Value:
    """Delete-a-block jackknife of the mean over folds, ``BLOCKS`` blocks of groups in each."""
    most = BLOCKS * len(folds)
    try:
        resampled = resample(folds, [metric], target, seed=seed, n_replicates=0, most_blocks=most)
    except UndefinedMetric as error:
        return Value(undefined=str(error))
    found = resampled[metric.name]
    if isinstance(found, UndefinedMetric):
        return Value(undefined=str(found))
    spread = float(np.sqrt(sum((len(left) - 1) * left.var() for left in found.jackknife)))
    if not spread > 0:
        why = "the same, or undefined, when one block of groups is left out"
        return Value(found.value, Interval(None, None, 0.95, "jackknife", BLOCKS, why), None, len(folds))
    interval = Interval(found.value - Z * spread, found.value + Z * spread, 0.95, "jackknife", BLOCKS)
    return Value(found.value, interval.within(metric.bounds(target)), spread, len(folds))
