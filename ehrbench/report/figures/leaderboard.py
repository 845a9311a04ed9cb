"""Leaderboard as a forest: each model's mean over outer folds, both intervals, and every fold."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ehrbench.report.figure import Figure
from ehrbench.report.run import Run
from ehrbench.report.svg import Plot, around, number


def leaderboard(run: Run, colours: Mapping[str, str]) -> Figure:
    metric = run.metric
    results = {m: run.summary["models"][m].get(metric.name, {}) for m in run.ranking}
    rows = {m: r for m, r in results.items() if r.get("mean") is not None}
    title = f"{metric.title} of each model"
    if not rows:
        why = "; ".join(f"{m}: {r.get('undefined', 'no value')}" for m, r in results.items())
        return Figure("leaderboard-figure", title, "", why=why, wide=True)
    ends = [v for r in rows.values() for v in [*r["folds"], *bounds(r, "interval"), *procedure(r)]]
    height = 62 + 46 * len(rows)
    plot = Plot(title, around(ends), (0, len(rows)), 860, height, (150, 150, 12, 46))
    plot.axes(f"{metric.title}, outer test", "", y_ticks=())
    for i, (model, result) in enumerate(rows.items()):
        y, kind = len(rows) - i - 0.5, colours[model]
        plot.text_at(140, plot.at_y(y) + 5, model, "name", anchor="end")
        low, high = procedure(result)
        plot.line([low, high], [y, y], f"{kind} thin", f"procedure: {_range(low, high)}")
        low, high = bounds(result, "interval")
        plot.line([low, high], [y, y], f"{kind} thick", f"these fitted models: {_range(low, high)}")
        for k, value in enumerate(result["folds"]):
            plot.dot(value, y - 0.24, "faint", 2.5, f"{model}, fold {k}: {number(value)}")
        plot.dot(result["mean"], y, kind, 5.5, f"{model}: {number(result['mean'])}")
        words = f"{result['mean']:.4f}" + ("" if np.isnan(low) else f" ({low:.3f}–{high:.3f})")
        plot.text_at(718, plot.at_y(y) + 5, words.replace("-", "−"), "note")
    better = "closer to its ideal" if metric.ideal is not None else "higher"
    better = "lower" if metric.ideal is None and not metric.greater_is_better else better
    caption = (
        f"{better.capitalize()} is better. Large dot: mean over outer folds. Thick line and numbers: 95 % group "
        "bootstrap, of these fitted models on more patients like these. Thin line: corrected resampled t over "
        "folds, of the whole procedure on another sample of this size. Small dots: single folds."
    )
    left = [f"{m}: {r.get('undefined', 'no value')}" for m, r in results.items() if m not in rows]
    caption += f" Not drawn: {'; '.join(left)}." if left else ""
    return Figure("leaderboard-figure", title, caption, plot.svg(), wide=True)


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
