"""Optimism: the inner score by which hyperparameters were chosen, against the outer score nobody chose by."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ehrbench.report.figure import Figure
from ehrbench.report.run import Run
from ehrbench.report.svg import Plot, around, number, room


def optimism(run: Run, colours: Mapping[str, str]) -> Figure:
    metric, title = run.metric.searched, "Optimism: inner score against outer"
    selected = run.summary["selected"]
    pairs = {
        m: (s["inner"], s["outer"])
        for m in run.ranking
        if (s := selected.get(m, {})).get("inner") is not None and s.get("outer") is not None
    }
    if not pairs:
        return Figure("optimism", title, "", why=f"No model has both an inner and an outer {metric.title}.")
    margin = room(list(pairs), 104)
    ends = [v for pair in pairs.values() for v in pair]
    plot = Plot(title, around(ends, 0.15), (0, len(pairs)), 420, 70 + 58 * len(pairs), (margin, 16, 10, 44))
    plot.axes(metric.title, "", y_ticks=())
    for i, (model, (inner, outer)) in enumerate(pairs.items()):
        y, kind = len(pairs) - i - 0.5, colours[model]
        gap = metric.gain(inner) - metric.gain(outer)
        plot.text_at(margin - 8, plot.at_y(y) + 5, model, "name", anchor="end")
        plot.line([inner, outer], [y, y], f"{kind} thick")
        plot.dot(inner, y, f"{kind} hollow", 5.5, f"{model}: inner {number(inner)}")
        plot.dot(outer, y, kind, 5.5, f"{model}: outer {number(outer)}")
        size = number(abs(gap), 2) if abs(gap) >= 0.001 else "less than 0.001"
        words = f"{'inner' if gap > 0 else 'outer'} better by {size}"
        half = 3.6 * len(words)  # of the text's width, which must stay inside the picture
        middle = float(np.clip(plot.at_x((inner + outer) / 2), margin + half, plot.width - half))
        plot.text_at(middle, plot.at_y(y) - 11, words, "note", anchor="middle")
    caption = (
        "Hollow: mean over outer folds of the chosen trial's inner score, the best of its budget and so too "
        "good by choice. Filled: the same procedure on the outer test, with the inner models averaged (which "
        "may make it better than the inner score). Only the outer score is reported anywhere as a result."
    )
    return Figure("optimism", title, caption, plot.svg())
