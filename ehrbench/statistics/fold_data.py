"""Predictions of one test fold: of one model, or of several on the same units."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ehrbench.core.metric import Metric
from ehrbench.core.target import Target
from ehrbench.core.types import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class FoldData:
    """What one finished procedure said of one test fold.

    y: labels, p: probabilities (U, C); group (U,): what is resampled together; threshold (C,) or None.
    n_train: groups the procedure was decided on (0 where it does not matter: a bundle on new records).
    record: (U,) which record owns each unit; None: each is its own. levels: (U, C) what the threshold is
    compared with (``core.calling``); None: p.
    """

    y: FloatArray
    p: FloatArray
    group: np.ndarray[Any, Any]
    threshold: FloatArray | None = None
    n_train: int = 0
    record: IntArray | None = None
    levels: FloatArray | None = None

    def value(self, metric: Metric, target: Target) -> float:
        """The metric of this fold; raises UndefinedMetric."""
        seen = self._seen(metric)
        return metric(self.y, seen, target=target, threshold=self.threshold, record=self.record)

    def weighted(self, metric: Metric, target: Target) -> Callable[[FloatArray], FloatArray]:
        """Weights (R, U) to values (R,), as ``Metric.weighted`` gives them."""
        y, p = (np.asarray(x, dtype=np.float64) for x in (self.y, self._seen(metric)))
        more = {"record": self.record} if metric.needs_record else {}
        return metric.weighted(y, p, target=target, threshold=self.threshold, **more)

    def alone(self, c: int) -> FoldData:
        """One class against the rest; beside ``target.alone(c)``."""
        threshold = None if self.threshold is None else self.threshold[[c]]
        levels = None if self.levels is None else self.levels[:, [c]]
        return replace(self, y=self.y[:, [c]], p=self.p[:, [c]], threshold=threshold, levels=levels)

    def _seen(self, metric: Metric) -> FloatArray:
        return self.p if self.levels is None or not metric.needs_threshold else self.levels


@dataclass(frozen=True, eq=False)
class FoldPredictions:
    """What every model said of the test units of one outer fold.

    record: (U,) positions among all records; group: (U,) what is resampled together.
    y: (U, C), NaN where unknown; p: model -> (U, C); threshold: model -> (C,).
    n_train, n_test: records. levels: model -> (U, C) what its threshold is compared with; none: p.
    """

    name: str
    record: IntArray
    unit: IntArray
    group: IntArray
    y: FloatArray
    p: Mapping[str, FloatArray]
    threshold: Mapping[str, FloatArray]
    n_train: int
    n_test: int
    levels: Mapping[str, FloatArray] = field(default_factory=dict)

    def called(self, model: str) -> BoolArray:
        """(U, C) which units one model calls, at its threshold."""
        return np.asarray(self.levels.get(model, self.p[model]) >= self.threshold[model])

    def take(self, index: IntArray) -> FoldPredictions:
        """The units at ``index``, in that order; the sizes stay those of the whole fold."""
        return replace(
            self,
            record=self.record[index],
            unit=self.unit[index],
            group=self.group[index],
            y=self.y[index],
            p={model: p[index] for model, p in self.p.items()},
            levels={model: level[index] for model, level in self.levels.items()},
        )

    def of(self, model: str) -> FoldData:
        """One model's predictions."""
        threshold, levels = self.threshold.get(model), self.levels.get(model)
        return FoldData(self.y, self.p[model], self.group, threshold, record=self.record, levels=levels)
