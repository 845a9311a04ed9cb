"""Decision thresholds (C,), chosen from out-of-fold probabilities.

A unit is called positive where p ≥ threshold. A cut lies half way between two neighbouring predictions, so
that a last digit decides nothing. Of cuts that are equally good the lowest is taken, which calls most
units. Several classes: each against the rest; one whose known labels are all alike, too rare for its folds,
gives nothing to choose by and gets ``GIVEN``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehrbench.core.calling import Calling
from ehrbench.core.errors import ConfigError, FitError, UndefinedMetric
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray, IntArray

#: Threshold of a class among several that has no positive, or no negative, to choose one by.
GIVEN = 0.5
#: Rule -> what it does, and what its value is ("" where it takes none).
RULES: dict[str, tuple[str, str]] = {
    "f1": ("greatest F1", ""),
    "event1": ("greatest min(sensitivity, PPV)", ""),
    "youden": ("greatest sensitivity + specificity", ""),
    "cost": ("least cost", "cost of a missed positive, in false alarms (> 0)"),
    "sensitivity": ("highest cut that reaches a sensitivity", "the sensitivity to reach, in (0, 1]"),
    "fixed": ("a given threshold", "the threshold, in [0, 1]"),
}
#: Ways to mend calls that are tried along records whose units follow each other, plain ones first.
CALLINGS = tuple(
    Calling(gap, run) for gap in (0, 1, 2, 3, 4, 6, 8) for run in (1, 2, 3, 4, 5, 6, 8)
)  # fmt: skip


@dataclass(frozen=True)
class ThresholdRule:
    """rule: one of ``RULES``; value: what that rule needs.

    Raises ConfigError for an unknown rule, or a value that is missing, out of range or not wanted.
    """

    rule: str
    value: float | None = None

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ConfigError(
                "threshold.rule", f"there is no rule {self.rule!r}", f"choose one of {', '.join(RULES)}"
            )
        meaning = RULES[self.rule][1]
        if not meaning and self.value is not None:
            raise ConfigError("threshold.value", f"the rule {self.rule} takes none", "leave it out")
        if meaning and not self._in_range():
            raise ConfigError("threshold.value", f"{self.value} is not usable", f"give {meaning}")

    def _in_range(self) -> bool:
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            return False
        if self.rule == "cost":
            return 0 < self.value < float("inf")
        return (0 if self.rule == "fixed" else 1e-12) <= self.value <= 1

    def __str__(self) -> str:
        return self.rule if self.value is None else f"{self.rule}={self.value:g}"

    def choose(self, y: FloatArray, p: FloatArray, target: Target) -> FloatArray:
        """(C,) thresholds for labels (U, C), NaN unknown, and out-of-fold probabilities (U, C).

        Raises UndefinedMetric for probabilities that are not finite, FitError for a single class whose known
        labels are all alike: no cut is better than another there (``fixed`` needs no labels).
        """
        if self.rule == "fixed":
            return np.full(target.n_classes, float(self.value or 0.0))
        if not np.isfinite(p).all():
            raise UndefinedMetric(f"threshold by {self}: some probabilities are not finite")
        given = self.given(y, target)
        for name, why in given.items():
            if target.n_classes == 1:
                raise FitError(
                    f"threshold by {self}: class {name} has {why} — use threshold=fixed, or more records"
                )
        cuts = np.full(target.n_classes, GIVEN)
        for c, name in enumerate(target.classes):
            if name not in given:
                known = ~np.isnan(y[:, c])
                cuts[c] = self._cut(y[known, c], p[known, c])[0]
        return cuts

    def given(self, y: FloatArray, target: Target) -> dict[str, str]:
        """Class -> why there is nothing to choose its threshold by; a matter of labels (U, C) alone."""
        if self.rule == "fixed":
            return {}
        found = {}
        for name, column in zip(target.classes, y.T, strict=True):
            labels = column[~np.isnan(column)]
            if len(np.unique(labels)) < 2:
                found[name] = f"{int(labels.sum())} positives among {len(labels)} out-of-fold labels"
        return found

    def choose_calling(
        self, y: FloatArray, p: FloatArray, target: Target, n_units: IntArray
    ) -> tuple[Calling, FloatArray]:
        """How calls are mended along records of ``n_units`` (N,) units, and the thresholds (C,) with it.

        The best of ``CALLINGS`` by what the rule maximises, mean over classes; of equally good ones the
        first, which changes least. A fixed threshold has nothing to choose by, and stays with plain calls.
        Raises as ``choose`` does.
        """
        thresholds = self.choose(y, p, target)
        if self.rule == "fixed":
            return Calling(), thresholds
        known, best = ~np.isnan(y), (Calling(), thresholds, -np.inf)
        for calling in CALLINGS:
            levels = calling.levels(p, n_units)
            columns = [self._cut(y[k, c], levels[k, c]) for c, k in enumerate(known.T)]
            merit = float(np.mean([worth for _, worth in columns]))
            if merit > best[2]:
                best = calling, np.array([cut for cut, _ in columns]), merit
        return best[:2]

    def _cut(self, y: FloatArray, p: FloatArray) -> tuple[float, float]:
        """The best cut of labels and probabilities (n,) with both classes among them, and its worth."""
        order = np.argsort(-p, kind="stable")
        ranked = p[order]
        last = np.r_[np.flatnonzero(np.diff(ranked)), len(ranked) - 1]  # last unit of each tie, descending
        tp = np.r_[0.0, np.cumsum(y[order])[last]]  # (K + 1,) with k = 0: nobody called
        called = np.r_[0.0, last + 1.0]
        merit = self._merit(tp, called, float(y.sum()), float(len(y)))
        best = len(merit) - 1 - int(np.argmax(merit[::-1]))
        return _between(ranked[last], best), float(merit[best])

    def _merit(self, tp: FloatArray, called: FloatArray, positives: float, n: float) -> FloatArray:
        """What each cut is worth, given true positives and calls (K + 1,)."""
        fp = called - tp
        sensitivity = tp / positives
        if self.rule == "f1":
            return 2 * tp / (called + positives)
        if self.rule == "event1":
            return tp / np.maximum(called, positives)
        if self.rule == "youden":
            return sensitivity - fp / (n - positives)
        assert self.value is not None
        if self.rule == "cost":
            return -(self.value * (positives - tp) + fp)
        return np.where(sensitivity >= self.value - 1e-12, -called, -np.inf)


def _between(values: FloatArray, k: int) -> float:
    """The cut that calls the first k of distinct descending predictions."""
    above = float(values[k - 1]) if k else 1.0
    if k == 0 and values[0] >= 1.0:
        return float(np.nextafter(1.0, 2.0))
    below = float(values[k]) if k < len(values) else 0.0
    middle = (above + below) / 2
    return middle if below < middle <= above else above
