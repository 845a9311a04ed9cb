"""Models that keep something of other fits, as honest code does by mistake."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ehrbench.core.model import FitResult
from ehrbench.core.records import Records
from ehrbench.models.logistic import Logistic

SELECTED: list[np.ndarray] = []


class WarmStart(Logistic):
    """Begins where the last fit ended, whosever it was."""

    last: ClassVar[Any] = 0.0

    def fit(self, train: Records, valid: Records | None, **rest: Any) -> FitResult:
        found = super().fit(train, valid, **rest)
        self._coefficient = self._coefficient + 0.5 * WarmStart.last
        WarmStart.last = self._coefficient
        return found


class RunningStatistics(Logistic):
    """The share of events among all that was ever fitted on."""

    n: ClassVar[float] = 0.0
    events: ClassVar[float] = 0.0

    def fit(self, train: Records, valid: Records | None, **rest: Any) -> FitResult:
        found = super().fit(train, valid, **rest)
        RunningStatistics.n += len(train.labels)
        RunningStatistics.events += float(train.labels.sum())
        self._intercept = self._intercept + RunningStatistics.events / RunningStatistics.n
        return found


class SelectedOnce(Logistic):
    """Features are selected by the first fit, for all later ones."""

    def fit(self, train: Records, valid: Records | None, **rest: Any) -> FitResult:
        found = super().fit(train, valid, **rest)
        if not SELECTED:
            SELECTED.append(np.abs(self._coefficient) >= np.median(np.abs(self._coefficient)))
        self._coefficient = self._coefficient * SELECTED[0]
        return found
