"""How much the models' values vary over outer folds, and whether their order does."""

from __future__ import annotations

from collections.abc import Mapping

from ehrbench.report.figure import Figure
from ehrbench.report.run import Run, fold_values
from ehrbench.report.svg import Plot, around, number


def fold_variance(run: Run, colours: Mapping[str, str]) -> Figure:
    metric, title = run.metric, "Variance over outer folds"
    if len(run.folds) < 2:
        why = f"The protocol ({run.summary['protocol']}) has one test fold: nothing varies over folds."
        return Figure("fold-variance", title, "", why=why)
    values = {m: fold_values(run.folds, m, metric, run.target) for m in run.ranking}
    flat = [v for row in values.values() for v in row]
    if not any(v == v for v in flat):
        return Figure("fold-variance", title, "", why=f"{metric.title} is undefined in every fold.")
    k = len(run.folds)
    frame = (60, 12, 10, 62)  # room below for three short lines, so that ten folds' do not touch
    plot = Plot(title, (-0.4, k - 0.6), around(flat), margins=frame).axes("", metric.title, x_ticks=())
    for i, fold in enumerate(run.folds):
        share = float((fold.y == 1).sum() / max((fold.y == fold.y).sum(), 1))
        for line, words in enumerate((f"fold {fold.name}", f"{fold.n_test:,}", f"{share:.1%}")):
            plot.text_at(plot.at_x(i), plot.height - 44 + 16 * line, words, "tick", anchor="middle")
    for model, row in values.items():
        plot.line(list(range(k)), row, colours[model], model)
        for i, value in enumerate(row):
            plot.dot(i, value, colours[model], 3.5, f"{model}, fold {run.folds[i].name}: {number(value)}")
    undefined = sorted({run.folds[i].name for row in values.values() for i, v in enumerate(row) if v != v})
    caption = "Below each fold its test records and share of positive labels. "
    caption += "Where lines cross, the models' order depends on the fold."
    if undefined:
        caption += f" {metric.title} is undefined in fold {', '.join(undefined)}."
    legend = tuple((colours[m], m) for m in values)
    return Figure("fold-variance", title, caption, plot.svg(), models=legend)
