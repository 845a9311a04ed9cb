"""Metrics of events: runs of positive units that follow each other in one record.

An event is found where any of its units is called; a run of called units is right where any of them is
positive. What is summed stands at the first unit of each run, so that an event counts as often as its record
does. Units without a known label are left out, and do not part those around them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ehrbench.core.target import Target
from ehrbench.core.types import BoolArray, FloatArray, IntArray
from ehrbench.metrics._at_once import AtOnceMetric, Weighted


class EventMetric(AtOnceMetric):
    """A function of sums over runs, macro over scored classes. Without records each unit is a run."""

    needs_threshold: ClassVar[bool] = True
    needs_record: ClassVar[bool] = True
    by_class: ClassVar[bool] = True

    @abstractmethod
    def of_sums(self, sums: FloatArray) -> FloatArray:
        """Values (R,) of sums (R, 5): events, found ones, called runs, right ones, and by how many units the
        ends of found events are missed; NaN where undefined."""

    def weighted(
        self,
        y: FloatArray,
        p: FloatArray,
        *,
        target: Target,
        threshold: FloatArray | None = None,
        record: IntArray | None = None,
        **more: Any,
    ) -> Weighted:
        each = self._columns(y, p, target, threshold, record).values()

        def values(weights: FloatArray) -> FloatArray:
            weights = np.asarray(weights, dtype=np.float64)
            return np.asarray(np.mean([self.of_sums(weights @ terms) for terms in each], axis=0))

        return values

    def problem(
        self, y: FloatArray, p: FloatArray, target: Target, threshold: FloatArray | None, **more: Any
    ) -> str:
        for c, terms in self._columns(y, p, target, threshold, more.get("record")).items():
            of = f" of {target.classes[c]}" * (target.n_classes > 1)
            if np.isnan(y[:, c]).all():
                return f"{of}: there is no unit with a known label"
            sums = terms.sum(axis=0)
            if np.isnan(self.of_sums(sums[None])[0]):
                events, found, called = (int(n) for n in sums[:3])
                return f"{of}: {events} events, {found} found, {called} called"
        return ": there is nothing of weight"

    def _columns(
        self,
        y: FloatArray,
        p: FloatArray,
        target: Target,
        threshold: FloatArray | None,
        record: IntArray | None,
    ) -> Mapping[int, FloatArray]:
        """Scored class (its column) -> (U, 5)."""
        record = np.arange(len(y)) if record is None else record
        cuts = np.broadcast_to(np.asarray(threshold, dtype=np.float64), (y.shape[1],))
        each = {}
        for c in target.scored:
            known = ~np.isnan(y[:, c])
            terms = np.zeros((len(y), 5))
            terms[known] = _terms(y[known, c] == 1, p[known, c] >= cuts[c], record[known])
            each[c] = terms
        return each


def _terms(positive: BoolArray, called: BoolArray, record: IntArray) -> FloatArray:
    """(n, 5) of known units."""
    terms = np.zeros((len(positive), 5))
    first, last = runs(positive, record)
    called_first, called_last = runs(called, record)
    n_called, n_positive = (np.concatenate([[0], np.cumsum(x)]) for x in (called, positive))
    found = n_called[last + 1] > n_called[first]
    terms[first, 0], terms[first, 1] = 1, found
    terms[called_first, 2] = 1
    terms[called_first, 3] = n_positive[called_last + 1] > n_positive[called_first]
    if found.any():
        of_run = np.searchsorted(called_first, np.arange(len(called)), side="right") - 1
        first, last = first[found], last[found]
        at = np.flatnonzero(called)
        opening = at[n_called[first]]  # the first called unit at or after the event's first, within it
        closing = at[n_called[last + 1] - 1]
        missed = np.abs(called_first[of_run[opening]] - first) + np.abs(called_last[of_run[closing]] - last)
        terms[first, 4] = missed
    return terms


def runs(marked: BoolArray, record: IntArray) -> tuple[IntArray, IntArray]:
    """First and last position of each run of marked units (n,) that follow each other in one record."""
    new = np.diff(record, prepend=-1) != 0 if len(record) else np.zeros(0, dtype=bool)
    before = np.concatenate([[False], marked[:-1]])[: len(marked)]
    starts = marked & (new | ~before)
    ends = marked & np.concatenate([(new | ~marked)[1:], [True]])[: len(marked)]
    return np.flatnonzero(starts), np.flatnonzero(ends)
