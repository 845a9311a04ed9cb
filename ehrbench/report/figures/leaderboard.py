"""Leaderboard as a forest: each model's mean over outer folds, both intervals, and every fold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ehrbench.core.metric import Metric
from ehrbench.report.figure import Figure
from ehrbench.report.rendering import metric_digits
from ehrbench.report.run import Run
from ehrbench.report.svg import NARROW, Plot, around, number, room


def leaderboard(run: Run, colours: Mapping[str, str]) -> Figure:
    """Of the searched metric, best first."""
    results = {m: run.summary["models"][m].get(run.metric.name, {}) for m in run.ranking}
    return ranking(run.metric, results, colours)


def ranking(metric: Metric, results: Mapping[str, Mapping[str, Any]], colours: Mapping[str, str]) -> Figure:
    """Of results as the summary has them, in their order."""
    rows = {m: r for m, r in results.items() if r.get("mean") is not None}
    title = f"{metric.title} of each model"
    if not rows:
        why = "; ".join(f"{m}: {r.get('undefined', 'no value')}" for m, r in results.items())
        return Figure("leaderboard-figure", title, "", why=why, wide=True)
    better = "closer to its ideal" if metric.ideal is not None else "higher"
    better = "lower" if metric.ideal is None and not metric.greater_is_better else better
    caption = (
        f"{better.capitalize()} is better. Large dot: mean over outer folds. Thick line and numbers: 95 % "
        "group bootstrap, of these fitted models on more records like these. Thin line: corrected resampled "
        "t over folds, of the whole procedure on another sample of this size (‹ ›: it goes on beyond the "
        "frame). Small dots: single folds."
    )
    left = [f"{m}: {r.get('undefined', 'no value')}" for m, r in results.items() if m not in rows]
    caption += f" Not drawn: {'; '.join(left)}." if left else ""
    wide, narrow = (_drawn(metric, title, rows, colours, for_phone=f).svg() for f in (False, True))
    return Figure("leaderboard-figure", title, caption, wide, wide=True, narrow=narrow)


def _drawn(
    metric: Metric,
    title: str,
    rows: Mapping[str, Mapping[str, Any]],
    colours: Mapping[str, str],
    *,
    for_phone: bool,
) -> Plot:
    """A row for each model; on a phone its name and numbers stand above its intervals and not beside them."""
    frame, n = _frame(rows), len(rows)
    if for_phone:
        plot = Plot(title, frame, (0, n), NARROW, 62 + 60 * n, (12, 12, 12, 46))
    else:
        margin = room(list(rows), 150, most=300)
        plot = Plot(title, frame, (0, n), 860, 62 + 46 * n, (margin, 150, 12, 46))
    plot.axes(f"{metric.title}, outer test", "", y_ticks=())
    for i, (model, result) in enumerate(rows.items()):
        y, kind = n - i - (0.62 if for_phone else 0.5), colours[model]
        low, high = procedure(result)
        shown = np.clip([low, high], *frame)
        plot.line(shown, [y, y], f"{kind} thin", f"procedure: {_range(low, high)}")
        for end, at, mark in ((low, frame[0], "‹"), (high, frame[1], "›")):
            if np.isfinite(end) and not frame[0] <= end <= frame[1]:
                plot.text(at, y, mark, "note", anchor="middle")
        low, high = bounds(result, "interval")
        plot.line([low, high], [y, y], f"{kind} thick", f"these fitted models: {_range(low, high)}")
        for k, value in enumerate(result["folds"]):
            plot.dot(value, y - 0.24, "faint", 2.5, f"{model}, fold {k}: {number(value)}")
        plot.dot(result["mean"], y, kind, 5.5, f"{model}: {number(result['mean'])}")
        words = metric_digits(result["mean"], 4) + (
            "" if np.isnan(low) else f" ({metric_digits(low)}–{metric_digits(high)})"
        )
        words = words.replace("-", "−")
        if for_phone:
            above = plot.at_y(n - i) + 16
            plot.text_at(plot.margins[0] + 6, above, model, "name")
            plot.text_at(plot.width - plot.margins[1], above, words, "note haloed", anchor="end")
        else:
            plot.text_at(plot.margins[0] - 10, plot.at_y(y) + 5, model, "name", anchor="end")
            plot.text_at(plot.width - plot.margins[1] + 4, plot.at_y(y) + 5, words, "note")
    return plot


def _frame(rows: Mapping[str, Mapping[str, Any]]) -> tuple[float, float]:
    """Room for all values and bootstrap intervals; the wide intervals of few folds may be cut off."""
    near = [v for r in rows.values() for v in [*r["folds"], *bounds(r, "interval")]]
    low, high = around(near)
    ends = np.array([v for r in rows.values() for v in procedure(r)])
    far_low, far_high = around([low, high, *ends[np.isfinite(ends)]], 0)
    span = high - low
    return max(low - span / 2, far_low), min(high + span / 2, far_high)


def bounds(result: Mapping[str, object], key: str) -> tuple[float, float]:
    """Ends of an interval; NaN where there is none."""
    interval = result.get(key)
    if not isinstance(interval, Mapping) or interval.get("low") is None or interval.get("high") is None:
        return float("nan"), float("nan")
    return float(interval["low"]), float(interval["high"])


def procedure(result: Mapping[str, object]) -> tuple[float, float]:
    return bounds(result, "interval_procedure")


def _range(low: float, high: float) -> str:
    return f"{number(low)} to {number(high)}"
