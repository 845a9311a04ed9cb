"""Hyperparameter importance of one model as bars."""

from __future__ import annotations

from ehrbench.report.figure import Figure
from ehrbench.report.importance import Importance
from ehrbench.report.svg import Plot, room


def importances(model: str, found: Importance, colour: str) -> Figure:
    title, name = f"{model}: hyperparameter importance", f"importance-{model}"
    if found.why is not None:
        return Figure(name, title, "", why=f"{found.why[0].upper()}{found.why[1:]}.")
    n = len(found.share)
    top = max(found.share.values()) * 1.18
    margin = room(list(found.share), 142, letter=6.6)
    plot = Plot(title, (0, top), (0, n), 420, 56 + 24 * n, (margin, 12, 8, 44))
    plot.axes("Share of the variance explained", "", y_ticks=())
    for i, (parameter, share) in enumerate(found.share.items()):
        y = n - i - 0.5
        plot.text_at(margin - 8, plot.at_y(y) + 4, parameter, "tick", anchor="end")
        plot.bar((0, share), y, 13, colour, f"{parameter}: {share:.1%}")
        plot.text(share + top * 0.01, y, f"{share:.0%}", "note")
    caption = (
        f"Functional ANOVA (Hutter et al. 2014) over {found.n_trials} finished trials of all its studies, "
        "each study's scores less their median. It says what the score depended on within the space "
        "searched, no more."
    )
    if found.conditional:
        caption += f" Left out, asked under a condition only: {', '.join(found.conditional)}."
    return Figure(name, title, caption, plot.svg())
