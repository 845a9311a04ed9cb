"""Score against latency: every trial by the milliseconds in which it answers about one record."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ehrbench.report.figure import Figure
from ehrbench.report.run import Run
from ehrbench.report.svg import Plot, around, number, ticks


def latency(run: Run, colours: Mapping[str, str]) -> Figure:
    """Complete trials of all studies; of a run that limits latency."""
    limit, name, title = float(run.config["search"]["latency_ms"]), "latency", "Score against latency"
    took = pd.to_numeric(run.trials["latency_ms"].replace("", None)).to_numpy(dtype=float)
    done = (run.trials["state"] == "complete").to_numpy() & np.isfinite(took)
    slow = int((took > limit).sum())
    if not done.any():
        return Figure(name, title, "", why="No trial answered in time.")
    values = run.trials["value"].to_numpy(dtype=float)
    low, high = around(values[done])
    right = 1.06 * max(limit, took[done].max())
    plot = Plot(title, (0, right), (low, high), 420, 270)
    plot.axes("Milliseconds a record", f"Inner {run.metric.searched.title}", x_ticks=ticks(0, right))
    plot.line([limit, limit], [low, high], "axis", f"search.latency_ms: {limit:g}")
    for at in np.flatnonzero(done):
        row = run.trials.iloc[at]
        tip = f"{row['model']}, fold {row['outer_fold']}, trial {row['ticket']}: {number(values[at])}"
        plot.dot(took[at], values[at], f"{colours[row['model']]} small", 2.2, f"{tip}, {took[at]:.3g} ms")
    caption = (
        f"Dots: complete trials, in the colours of the leaderboard; line: the limit of {limit:g} ms, which "
        f"the models of an ensemble keep together. {slow} trials were slower and spent as failed. CPU time "
        "of one thread where the search ran, by what runs the bundle, of all models that answer for a trial."
    )
    return Figure(name, title, caption, plot.svg())
