"""Parallel coordinates: every finished trial of one model as a line through its hyperparameters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ehrbench.report.figure import Figure
from ehrbench.report.importance import Axis
from ehrbench.report.run import Run
from ehrbench.report.svg import Plot, number, shortened

_GAP = 104
MOST_LINES = 600


def parallel(run: Run, model: str, axes: Sequence[Axis]) -> Figure:
    name, title = f"parallel-{model}", f"{model}: trials by hyperparameters"
    trials = run.trials[(run.trials["model"] == model) & (run.trials["state"] == "complete")]
    trials = trials[np.isfinite(trials["value"])]
    if not axes or trials.empty:
        why = "No trial finished with a value." if trials.empty else "No hyperparameter took two values."
        return Figure(name, title, "", why=why, wide=True)
    rank = _rank(run, trials)
    shown = np.argsort(rank, kind="stable")[-MOST_LINES:]  # the best are drawn last, on top
    gap = max(_GAP, 780 / len(axes))
    plot = Plot(title, (0, len(axes)), (0, 1), 110 + gap * len(axes), 300, (46, 64, 44, 34))
    values, params = trials["value"].to_numpy(), trials["params"].to_list()
    folds = trials["outer_fold"].to_list()
    for i in shown:
        x = [k for k, a in enumerate(axes) if a.name in params[i]]
        y = [axes[k].position(params[i][axes[k].name]) for k in x]
        tip = f"fold {folds[i]}: {run.metric.searched.title} {number(values[i])}"
        plot.line([*x, len(axes)], [*y, float(rank[i])], f"rank{min(int(rank[i] * 5), 4)}", tip)
    for k, axis in enumerate(axes):
        _draw_axis(plot, k, axis, int(gap / 6.2))
    _draw_scale(plot, len(axes))
    caption = (
        "Each line is a trial; the last axis is its rank by inner score within its study, and the "
        "stronger the line, the better. Axes marked log are logarithmic."
    )
    more = len(trials) - len(shown)
    caption += f" {more} worse trials are not drawn." if more else ""
    return Figure(name, title, caption, plot.svg(), wide=True)


def _rank(run: Run, trials: object) -> np.ndarray:
    """(n,) rank by gain within the outer fold, from 0 (worst) to 1 (best)."""
    gain = trials["value"].map(run.metric.searched.gain)  # type: ignore[index]
    by_fold = gain.groupby(trials["outer_fold"])  # type: ignore[index]
    size = by_fold.transform("size")
    return np.where(size > 1, (by_fold.rank(method="average") - 1) / np.maximum(size - 1, 1), 1.0)


def _draw_axis(plot: Plot, k: int, axis: Axis, most: int) -> None:
    """most: letters that its name has room for."""
    x, top, bottom = plot.at_x(k), plot.margins[2], plot.height - plot.margins[3]
    plot.raw(f'<path class="axis" d="M{x:.1f} {top:.1f}V{bottom:.1f}"/>')
    plot.text_at(x, 16 if k % 2 == 0 else 32, shortened(axis.name, most), "axis-name", anchor="middle")
    if axis.choices:
        for choice in axis.choices:
            plot.text_at(x + 5, plot.at_y(axis.position(choice)) + 4, choice[:14], "tick haloed")
        return
    plot.text_at(x, bottom + 15, number(axis.low, 3), "tick", anchor="middle")
    plot.text_at(x + 5, top + 10, number(axis.high, 3), "tick haloed")
    if axis.log:
        plot.text_at(x, bottom + 28, "log", "tick", anchor="middle")


def _draw_scale(plot: Plot, k: int) -> None:
    x, top, bottom = plot.at_x(k), plot.margins[2], plot.height - plot.margins[3]
    plot.raw(f'<path class="axis strong" d="M{x:.1f} {top:.1f}V{bottom:.1f}"/>')
    plot.text_at(x, 16 if k % 2 == 0 else 32, "rank", "axis-name", anchor="middle")
    plot.text_at(x + 7, top + 10, "best", "tick")
    plot.text_at(x + 7, bottom, "worst", "tick")
