"""Subgroup forest plot: one metric in every subgroup, with intervals, beside all records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ehrbench.report.figure import Figure
from ehrbench.report.figures.leaderboard import bounds
from ehrbench.report.rendering import metric_digits
from ehrbench.report.run import Run
from ehrbench.report.svg import NARROW, Plot, around, number
from ehrbench.statistics.defined import Value
from ehrbench.statistics.subgroups import MINIMUM, MINIMUM_EACH, Subgroup

#: Pixels of a line of words.
_LINE = 22


def forest(run: Run, model: str, groups: Sequence[Subgroup], colour: str) -> Figure:
    metric = run.metric
    title = f"{metric.title} of {model} by subgroup"
    if not groups:
        return Figure("forest", title, "", why="The task names no subgroups of its records.", wide=True)
    caption = (
        f"Beside each name its records and positive labels. Subgroups below {MINIMUM} records, or "
        f"{MINIMUM_EACH} of either class, are named and not judged. Intervals: 95 %, by group, given the "
        "fitted models; not corrected for their number."
    )
    wide, narrow = (_drawn(run, title, model, groups, colour, for_phone=f).svg() for f in (False, True))
    return Figure("forest", title, caption, wide, wide=True, narrow=narrow)


def _drawn(
    run: Run, title: str, model: str, groups: Sequence[Subgroup], colour: str, *, for_phone: bool
) -> Plot:
    metric = run.metric
    overall = run.summary["models"][model].get(metric.name, {})
    families = list(dict.fromkeys(g.family for g in groups))
    ends = [v for g in groups for v in _ends(g, metric.name)] + list(bounds(overall, "interval"))
    lines = 2 if for_phone else 1
    top = lines * (len(groups) + 1) + len(families)
    frame, width = ((120, 12, 10, 46), NARROW) if for_phone else ((300, 205, 10, 46), 860)
    plot = Plot(title, around(ends), (0, top), width, 60 + _LINE * top, frame)
    plot.axes(f"{metric.title}, outer test", "", y_ticks=())
    rows = _ForestRows(plot, colour, lines, top)
    if overall.get("mean") is not None:
        x, upper, lower = plot.at_x(overall["mean"]), plot.margins[2], plot.height - plot.margins[3]
        plot.raw(f'<path class="line reference" d="M{x:.1f} {upper:.1f}V{lower:.1f}"/>')
        rows.judged("all records", "", overall["mean"], bounds(overall, "interval"))
    for family in families:
        rows.family(run.family(family))
        for group in (g for g in groups if g.family == family):
            size = f"{group.n_records:,} · {group.positives:,}"
            value = group.values.get(metric.name)
            if group.small or value is None or value.mean is None:
                why = group.small or (value.undefined if value else None) or "no value"
                rows.unjudged(group.level, size, why)
                continue
            used = value.folds_used
            more = "" if used == len(run.folds) else f" · {used}/{len(run.folds)} folds"
            rows.judged(group.level, size, value.mean, _interval(value), more)
    return plot


def _ends(group: Subgroup, metric: str) -> list[float]:
    value = group.values.get(metric)
    if value is None or value.mean is None:
        return []
    return [v for v in (value.mean, *_interval(value)) if np.isfinite(v)]


def _interval(value: Value) -> tuple[float, float]:
    """Its ends; NaN where there is none."""
    found = value.interval
    if found is None or found.low is None or found.high is None:
        return float("nan"), float("nan")
    return found.low, found.high


@dataclass
class _ForestRows:
    """Rows of a plot from its top on: names, numbers, and an interval beside them, or below on a phone.

    lines: of words that a row takes, 1 or 2; top: where the next row begins, in lines from the foot.
    """

    plot: Plot
    colour: str
    lines: int
    top: float

    def family(self, name: str) -> None:
        self.plot.text_at(6, self._words(), name, "name")
        self.top -= 1

    def unjudged(self, name: str, size: str, why: str) -> None:
        plot, left = self.plot, self.plot.margins[0]
        plot.text_at(22, self._words(), name, "note")
        beside, at = (left - 10, left + 6) if self.lines == 1 else (plot.width - plot.margins[1], 22)
        plot.text_at(beside, self._words(), size, "tick haloed", anchor="end")
        plot.text_at(at, plot.at_y(self._middle()) + 5, why, "tick haloed")
        self.top -= self.lines

    def judged(self, name: str, size: str, mean: float, ends: tuple[float, float], more: str = "") -> None:
        """size: its records and positive labels; of all records nothing, whose name stands out instead."""
        plot, y, (low, high) = self.plot, self._middle(), ends
        plot.text_at(22 if size else 6, self._words(), name, "note" if size else "name")
        plot.text_at(plot.margins[0] - 10, plot.at_y(y) + 5, size, "tick", anchor="end")
        plot.line([low, high], [y, y], f"{self.colour} thick", f"{name}: {number(low)} to {number(high)}")
        plot.dot(mean, y, self.colour, 5, f"{name}: {number(mean)}")
        words = (
            metric_digits(mean)
            + (" (no interval)" if np.isnan(low) else f" ({metric_digits(low)}–{metric_digits(high)})")
            + more
        ).replace("-", "−")
        x = plot.width - plot.margins[1]
        if self.lines == 1:
            plot.text_at(x + 8, self._words(), words, "note")
        else:
            plot.text_at(x, self._words(), words, "note haloed", anchor="end")
        self.top -= self.lines

    def _words(self) -> float:
        """Pixels down to the feet of the row's words."""
        return self.plot.at_y(self.top - 0.5) + 5

    def _middle(self) -> float:
        """Where the row's interval lies."""
        return self.top - self.lines + 0.5
