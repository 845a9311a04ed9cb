"""Subgroup forest plot: one metric in every subgroup, with intervals, beside all records."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ehrbench.report.figure import Figure
from ehrbench.report.figures.leaderboard import bounds
from ehrbench.report.rendering import metric_digits
from ehrbench.report.run import Run
from ehrbench.report.svg import Plot, around, number
from ehrbench.statistics.subgroups import MINIMUM, MINIMUM_EACH, Subgroup

_ROW = 22


def forest(run: Run, model: str, groups: Sequence[Subgroup], colour: str) -> Figure:
    metric = run.metric
    title = f"{metric.title} of {model} by subgroup"
    if not groups:
        return Figure("forest", title, "", why="The task names no subgroups of its records.", wide=True)
    overall = run.summary["models"][model].get(metric.name, {})
    families = list(dict.fromkeys(g.family for g in groups))
    rows: list[str | Subgroup] = []
    for family in families:
        rows += [family, *(g for g in groups if g.family == family)]
    ends = [v for g in groups for v in _ends(g, metric.name)] + list(bounds(overall, "interval"))
    height = 60 + _ROW * (len(rows) + 1)
    plot = Plot(title, around(ends), (0, len(rows) + 1), 860, height, (300, 205, 10, 46))
    plot.axes(f"{metric.title}, outer test", "", y_ticks=())
    if overall.get("mean") is not None:
        x, top, bottom = plot.at_x(overall["mean"]), plot.margins[2], plot.height - plot.margins[3]
        plot.raw(f'<path class="line reference" d="M{x:.1f} {top:.1f}V{bottom:.1f}"/>')
        _row(
            plot,
            len(rows) + 0.5,
            "all records",
            overall["mean"],
            bounds(overall, "interval"),
            colour,
            "strong",
        )
    for i, row in enumerate(rows):
        y = len(rows) - i - 0.5
        if isinstance(row, str):
            plot.text_at(6, plot.at_y(y) + 5, run.family(row), "name")
            continue
        value = row.values.get(metric.name)
        size = f"{row.n_records:,} · {row.positives:,}"
        plot.text_at(290, plot.at_y(y) + 5, size, "tick", anchor="end")
        if row.small or value is None or value.mean is None:
            why = row.small or (value.undefined if value else None) or "no value"
            plot.text_at(22, plot.at_y(y) + 5, row.level, "note")
            plot.text_at(306, plot.at_y(y) + 5, why, "tick haloed")
            continue
        used = "" if value.folds_used == len(run.folds) else f" · {value.folds_used}/{len(run.folds)} folds"
        found = value.interval
        ends_here = (
            (found.low, found.high)
            if found is not None and found.low is not None and found.high is not None
            else (float("nan"), float("nan"))
        )
        _row(plot, y, row.level, value.mean, ends_here, colour, "", used)
    caption = (
        f"Beside each name its records and positive labels. Subgroups below {MINIMUM} records, or "
        f"{MINIMUM_EACH} of either class, are named and not judged. Intervals: 95 %, by group, given the "
        "fitted models; not corrected for their number."
    )
    return Figure("forest", title, caption, plot.svg(), wide=True)


def _ends(group: Subgroup, metric: str) -> list[float]:
    value = group.values.get(metric)
    if value is None or value.mean is None:
        return []
    interval = value.interval
    if interval is None or interval.low is None or interval.high is None:
        return [value.mean]
    return [value.mean, interval.low, interval.high]


def _row(
    plot: Plot,
    y: float,
    name: str,
    mean: float,
    ends: tuple[float, float],
    colour: str,
    kind: str,
    more: str = "",
) -> None:
    low, high = ends
    plot.text_at(6 if kind else 22, plot.at_y(y) + 5, name, "name" if kind else "note")
    plot.line([low, high], [y, y], f"{colour} thick", f"{name}: {number(low)} to {number(high)}")
    plot.dot(mean, y, colour, 5, f"{name}: {number(mean)}")
    words = (
        metric_digits(mean)
        + (" (no interval)" if np.isnan(low) else f" ({metric_digits(low)}–{metric_digits(high)})")
        + more
    )
    plot.text_at(plot.width - plot.margins[1] + 8, plot.at_y(y) + 5, words.replace("-", "−"), "note")
