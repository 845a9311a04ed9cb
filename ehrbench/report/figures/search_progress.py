"""Score against trial number: every trial, and the best so far, of one model in each outer fold.

Trials have the numbers that the ledger, ``trials.csv``, Optuna and MLflow give them: from 0.
"""

from __future__ import annotations

import numpy as np

from ehrbench.core.metric import Metric
from ehrbench.report.figure import Figure
from ehrbench.report.run import Run
from ehrbench.report.svg import Plot, around, number, ticks


def progress(run: Run, model: str, colour: str) -> Figure:
    metric = run.metric.searched
    trials = run.trials[run.trials["model"] == model].sort_values("ticket")
    title, name = f"{model}: score against trial", f"progress-{model}"
    finished = trials[(trials["state"] == "complete") & np.isfinite(trials["value"])]
    states = trials["state"].value_counts().to_dict()
    counted = ", ".join(f"{n} {state}" for state, n in states.items())
    if finished.empty:
        why = f"No trial of {model} finished with a value" + (f" ({counted})." if counted else ".")
        return Figure(name, title, "", why=why)
    last = int(trials["ticket"].max())
    values = finished["value"].to_numpy(dtype=float)
    low, high = around(_seen(values, metric))
    plot = Plot(title, (-0.5, max(last, 1) + 0.5), (low, high), 420, 270)
    plot.axes("Trial", f"Inner {metric.title}", x_ticks=[t for t in ticks(0, last) if t == int(t)])
    for fold, rows in finished.groupby("outer_fold", sort=True):
        kind = f"{colour} dashed" if fold == "all" else f"{colour} solid"
        at = rows["ticket"].to_numpy(dtype=float)
        gain = np.array([metric.gain(v) for v in rows["value"]])
        best = rows["value"].to_numpy(dtype=float)[_running_best(gain)]
        where = "all records (for the bundle)" if fold == "all" else f"outer fold {fold}"
        plot.steps(np.r_[at, last + 0.5], np.r_[best, best[-1]], kind, f"{where}: best {number(best[-1])}")
        for ticket, value in zip(at, rows["value"], strict=True):
            if low <= value <= high:
                plot.dot(
                    ticket, value, f"{colour} small", 1.8, f"{where}, trial {int(ticket)}: {number(value)}"
                )
    for _, row in trials[trials["state"].isin(("pruned", "failed"))].iterrows():
        x, bottom = plot.at_x(row["ticket"]), plot.height - plot.margins[3]
        kind = "failed" if row["state"] == "failed" else "pruned"
        plot.raw(f'<path class="mark {kind}" d="M{x:.1f} {bottom:.1f}v-7"><title>{kind}</title></path>')
    hidden = int(((values < low) | (values > high)).sum())
    bundle = "; dashed: over all records, for the bundle" * bool((finished["outer_fold"] == "all").any())
    caption = f"Steps: best so far in each outer fold{bundle}; dots: trials. {counted}, over all studies."
    caption += " Ticks at the foot: trials pruned or failed." if {"pruned", "failed"} & set(states) else ""
    caption += f" {hidden} far worse trials lie outside the frame." if hidden else ""
    return Figure(name, title, caption, plot.svg())


def _running_best(gain: np.ndarray) -> np.ndarray:
    """(n,) index of the best so far."""
    best = np.maximum.accumulate(gain)
    return np.asarray([int(np.argmax(gain[: i + 1] == best[i])) for i in range(len(gain))])


def _seen(values: np.ndarray, metric: Metric) -> np.ndarray:
    """The values without a far tail on the bad side, which would flatten all the others."""
    gain = np.array([metric.gain(v) for v in values])
    middle, low = np.median(gain), np.quantile(gain, 0.1)
    kept = gain >= min(low, middle - 4 * max(middle - low, 1e-9))
    return np.asarray(values[kept])
