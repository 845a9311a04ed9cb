"""ROC, precision–recall, calibration and decision curves of one class, all models, with bootstrap bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ehrbench.report.figure import Figure
from ehrbench.report.svg import Plot, number
from ehrbench.statistics import curves
from ehrbench.statistics.score_counts import ScoreCounts

#: Class of a model's colour.
Colours = Mapping[str, str]
NAN = "its predictions are not all finite numbers"


def thresholds_for(prevalence: float) -> np.ndarray:
    """Risks at which one might act: from 1 % to well above the prevalence."""
    upper = float(np.clip(np.ceil(prevalence * 3 * 20) / 20, 0.3, 0.95))
    return np.round(np.arange(1, round(upper * 100) + 1) / 100, 2)


def roc(counts: Mapping[str, ScoreCounts], colours: Colours, key: str, unusable: Sequence[str]) -> Figure:
    drawn = {m: c for m in colours if m in counts and (c := curves.roc(counts[m])) is not None}
    title = "ROC curve"
    if not drawn:
        return _none(f"roc-{key}", title, counts, unusable)
    plot = Plot("ROC curves with bootstrap bands", (0, 1), (0, 1)).axes(
        "False positive rate (1 − specificity)", "True positive rate (sensitivity)"
    )
    plot.line([0, 1], [0, 1], "reference")
    _draw(plot, drawn, colours)
    caption = "Mean of the folds' curves at each false positive rate. " + _left_out(drawn) + _bands(unusable)
    return Figure(f"roc-{key}", title, caption, plot.svg(), models=_legend(drawn, colours))


def precision_recall(
    counts: Mapping[str, ScoreCounts], colours: Colours, key: str, unusable: Sequence[str]
) -> Figure:
    drawn = {m: c for m in colours if m in counts and (c := curves.precision_recall(counts[m])) is not None}
    title = "Precision–recall curve"
    if not drawn:
        return _none(f"pr-{key}", title, counts, unusable)
    share = _prevalence(counts)
    plot = Plot("Precision–recall curves with bootstrap bands", (0, 1), (0, 1)).axes(
        "Recall (sensitivity)", "Precision (positive predictive value)"
    )
    plot.line([0, 1], [share, share], "reference")
    _draw(plot, drawn, colours)
    reference = f"Thin dashed line: the prevalence, {number(100 * share, 3)}\u00a0%. "  # no room beside it
    caption = "Mean of the folds' curves at each recall. " + reference + _left_out(drawn) + _bands(unusable)
    return Figure(f"pr-{key}", title, caption, plot.svg(), models=_legend(drawn, colours))


def calibration(
    counts: Mapping[str, ScoreCounts], colours: Colours, key: str, unusable: Sequence[str]
) -> Figure:
    drawn = {m: c for m in colours if m in counts and (c := curves.calibration(counts[m])) is not None}
    title = "Calibration curve"
    if not drawn:
        return _none(f"calibration-{key}", title, counts, unusable)
    reach = max(float(np.nanmax(np.r_[c.smooth.x, c.groups.x, c.groups.y])) for c in drawn.values())
    top = min(1.0, float(np.ceil(reach * 10) / 10))
    plot = Plot("Calibration curves with bootstrap bands", (0, top), (0, top)).axes(
        "Predicted probability", "Observed share"
    )
    plot.line([0, top], [0, top], "reference")
    _draw(plot, {m: _below(c.smooth, top) for m, c in drawn.items()}, colours)
    for m, c in drawn.items():
        for x, y, n in zip(c.groups.x, c.groups.y, c.size, strict=True):
            tip = f"{m}: predicted {x:.3f}, observed {y:.3f}, {int(n):,} units"
            plot.dot(x, min(y, top), f"{colours[m]} group", 3, tip)
    caption = (
        "Line: local linear regression on the logit scale, without the extreme tails; dots: ten groups of "
        "equal size. Above the diagonal, risks are too low; below, too high. " + _bands(unusable)
    )
    return Figure(f"calibration-{key}", title, caption, plot.svg(), models=_legend(drawn, colours))


def decision(
    counts: Mapping[str, ScoreCounts],
    colours: Colours,
    key: str,
    unusable: Sequence[str],
    thresholds: np.ndarray,
) -> Figure:
    title = "Decision curve (net benefit)"
    share = _prevalence(counts)
    if not counts or not 0 < share < 1:
        return _none(f"decision-{key}", title, counts, unusable)
    found = {m: curves.net_benefit(counts[m], thresholds) for m in colours if m in counts}
    drawn = {m: curve for m, (curve, _) in found.items()}
    treat_all = next(iter(found.values()))[1]
    top = max(share, max(float(np.nanmax(c.high)) for c in drawn.values())) * 1.06
    floor = -top * 0.25
    plot = Plot("Decision curves with bootstrap bands", (0, float(thresholds[-1])), (floor, top)).axes(
        "Threshold: act at this risk or above", "Net benefit (true positives a unit)"
    )
    kept = treat_all >= floor
    if kept.any():  # a rare outcome's falls out of the frame before the first threshold
        plot.line(thresholds[kept], treat_all[kept], "reference")
        at = int(kept.sum() * 0.62)
        plot.text(float(thresholds[at]) + 0.006, float(treat_all[at]), "act on all", "note haloed")
    plot.line([0, float(thresholds[-1])], [0, 0], "reference")
    plot.text(float(thresholds[0]), -top * 0.055, "act on none", "note haloed")

    def above(v: np.ndarray) -> np.ndarray:
        return np.where(v < floor, np.nan, v)

    clipped = {m: curves.Curve(c.x, above(c.y), above(c.low), above(c.high)) for m, c in drawn.items()}
    _draw(plot, clipped, colours)
    caption = (
        "What acting at a risk is worth when a false alarm costs t/(1 − t) of a hit (Vickers & Elkin 2006); "
        f"units of all folds together. {_bands(unusable)}"
    )
    return Figure(f"decision-{key}", title, caption, plot.svg(), models=_legend(drawn, colours))


def _below(curve: curves.Curve, top: float) -> curves.Curve:
    """The curve and its band as far as the frame goes."""
    y, low, high = (np.minimum(v, top) for v in (curve.y, curve.low, curve.high))
    return replace(curve, y=y, low=low, high=high)


def _draw(plot: Plot, drawn: Mapping[str, curves.Curve], colours: Colours) -> None:
    for m, curve in drawn.items():
        plot.band(curve.x, curve.low, curve.high, colours[m])
    for m, curve in reversed(list(drawn.items())):
        plot.line(curve.x, curve.y, colours[m], m)


def _legend(drawn: Mapping[str, object], colours: Colours) -> tuple[tuple[str, str], ...]:
    return tuple((colours[m], m) for m in drawn)


def _left_out(drawn: Mapping[str, curves.Curve]) -> str:
    n = max(curve.left_out for curve in drawn.values())
    return f"{n} fold{'s' * (n > 1)} with one class only left out. " if n else ""


def _bands(unusable: Sequence[str]) -> str:
    missing = f" Not drawn: {', '.join(unusable)} ({NAN})." if unusable else ""
    level = f"{number(100 * curves.LEVEL)}\u00a0%"  # no line ends between them
    return f"Band: pointwise {level} group bootstrap, given the fitted models.{missing}"


def _prevalence(counts: Mapping[str, ScoreCounts]) -> float:
    for c in counts.values():
        positives, negatives = c.pooled()
        n = float(positives[0].sum() + negatives[0].sum())
        return float(positives[0].sum()) / n if n else float("nan")
    return float("nan")


def _none(name: str, title: str, counts: Mapping[str, ScoreCounts], unusable: Sequence[str]) -> Figure:
    if not counts:
        why = f"{', '.join(unusable) or 'no model'}: {NAN}." if unusable else "No model has predictions."
    else:
        positives, negatives = next(iter(counts.values())).pooled()
        each = int(positives[0].sum()), int(negatives[0].sum())
        why = (
            f"It needs both classes in a fold, and there are {each[0]} positive and {each[1]} negative units."
        )
    return Figure(name, title, "", why=why)
