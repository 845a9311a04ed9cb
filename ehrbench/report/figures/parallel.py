"""Parallel coordinates: every finished trial of one model as a line through its hyperparameters.

Their axes stand side by side; on a phone, one below the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ehrbench.report.figure import Figure
from ehrbench.report.importance import Axis
from ehrbench.report.run import Run
from ehrbench.report.svg import NARROW, Plot, number, shortened

_GAP, _GAP_DOWN = 104, 56
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
    wide = Plot(title, (0, len(axes)), (0, 1), 110 + gap * len(axes), 300, (46, 64, 44, 34))
    height = 70 + _GAP_DOWN * len(axes)
    narrow = Plot(title, (0, 1), (0, len(axes)), NARROW, height, (16, 16, 30, 40))
    values, params = trials["value"].to_numpy(), trials["params"].to_list()
    folds = trials["outer_fold"].to_list()
    for i in shown:
        k = [k for k, a in enumerate(axes) if a.name in params[i]]
        at = [axes[j].position(params[i][axes[j].name]) for j in k] + [float(rank[i])]
        k.append(len(axes))
        tip = f"fold {folds[i]}: {run.metric.searched.title} {number(values[i])}"
        kind = f"rank{min(int(rank[i] * 5), 4)}"
        wide.line(k, at, kind, tip)
        narrow.line(at, [len(axes) - j for j in k], kind, tip)
    for j, axis in enumerate(axes):
        _draw_axis(wide, j, axis, int(gap / 6.2))
        _draw_axis_down(narrow, len(axes) - j, axis)
    _draw_scales(wide, narrow, len(axes))
    caption = (
        "Each line is a trial; the last axis is its rank by inner score within its study, and the "
        "stronger the line, the better. Axes marked log are logarithmic."
    )
    more = len(trials) - len(shown)
    caption += f" {more} worse trials are not drawn." if more else ""
    return Figure(name, title, caption, wide.svg(), wide=True, narrow=narrow.svg())


def _rank(run: Run, trials: pd.DataFrame) -> np.ndarray:
    """(n,) rank by gain within the outer fold, from 0 (worst) to 1 (best)."""
    gain = trials["value"].map(run.metric.searched.gain)
    by_fold = gain.groupby(trials["outer_fold"])
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


def _draw_axis_down(plot: Plot, height: int, axis: Axis) -> None:
    y, left, right = plot.at_y(height), plot.margins[0], plot.width - plot.margins[1]
    plot.raw(f'<path class="axis" d="M{left:.1f} {y:.1f}H{right:.1f}"/>')
    name = f"{axis.name} (log)" if axis.log else axis.name
    plot.text_at(left, y - 6, name, "axis-name haloed")
    if axis.choices:
        most = int((right - left) / len(axis.choices) / 7.2)  # letters that each has room for
        for choice in axis.choices:
            x = plot.at_x(axis.position(choice))
            plot.text_at(x, y + 14, shortened(choice, most), "tick haloed", anchor="middle")
        return
    plot.text_at(left, y + 14, number(axis.low, 3), "tick haloed")
    plot.text_at(right, y + 14, number(axis.high, 3), "tick haloed", anchor="end")


def _draw_scales(wide: Plot, narrow: Plot, k: int) -> None:
    """The last axis, of ranks."""
    x, top, bottom = wide.at_x(k), wide.margins[2], wide.height - wide.margins[3]
    wide.raw(f'<path class="axis strong" d="M{x:.1f} {top:.1f}V{bottom:.1f}"/>')
    wide.text_at(x, 16 if k % 2 == 0 else 32, "rank", "axis-name", anchor="middle")
    wide.text_at(x + 7, top + 10, "best", "tick")
    wide.text_at(x + 7, bottom, "worst", "tick")
    y, left, right = narrow.at_y(0), narrow.margins[0], narrow.width - narrow.margins[1]
    narrow.raw(f'<path class="axis strong" d="M{left:.1f} {y:.1f}H{right:.1f}"/>')
    narrow.text_at(left, y - 6, "rank", "axis-name haloed")
    narrow.text_at(left, y + 14, "worst", "tick")
    narrow.text_at(right, y + 14, "best", "tick", anchor="end")
