"""Checks on predictions: each compares one figure of the challenger with one limit, and says so in one line.

Wherever a figure is estimated, it is refused beyond chance only (a 95 % interval, or Holm's correction at 5 %
over the subgroups): a gate that refuses by luck is soon gone around. The one exception protects patients:
against the champion, no worse must be shown, so there it is the doubt that refuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from ehrbench import metrics
from ehrbench.core.errors import UndefinedMetric
from ehrbench.core.metric import Metric
from ehrbench.core.target import Target
from ehrbench.core.types import BoolArray, FloatArray, IntArray
from ehrbench.registry.evidence import Evidence
from ehrbench.registry.gate_limits import CalibrationLimit, Limits, MetricLimit, MisreadLimit, SubgroupLimit
from ehrbench.registry.release import CHALLENGER, CHAMPION
from ehrbench.statistics.comparison import Difference, compare, holm
from ehrbench.statistics.evaluation import evaluate
from ehrbench.statistics.fold_data import FoldPredictions
from ehrbench.statistics.subgroups import Subgroup, by_subgroup

#: A subgroup is worse when chance would make so large a loss less often, after Holm's correction.
ALPHA = 0.05
#: Fewer of the hardest units tell nothing.
FEWEST_MISREAD = 30


@dataclass(frozen=True)
class Check:
    """figure, limit: what was compared, None where there was nothing to. told: one line, passed or not."""

    name: str
    passed: bool
    figure: float | None
    limit: float | str | None
    told: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-like."""
        return asdict(self)


def judged_metric(name: str | None, searched: str) -> Metric:
    """The metric that decides; log loss for one with an ideal between, whose distance has no paired test."""
    metric = metrics.load(name or searched)
    return metric if metric.ideal is None else metrics.load("log_loss")


def on_predictions(evidence: Evidence, metric: Metric, limits: Limits) -> list[Check]:
    """All checks that predictions can answer."""
    draws = {"seed": limits.seed, "n_bootstrap": limits.n_bootstrap}
    return [
        _metric(evidence, metric, limits.metric, **draws),
        _calibration(evidence, limits.calibration, **draws),
        _subgroups(evidence, metric, limits.subgroup, **draws),
        _misread(evidence, limits.misread),
    ]


def _metric(evidence: Evidence, metric: Metric, limit: MetricLimit, *, seed: int, n_bootstrap: int) -> Check:
    value = _whole(evidence, metric)
    if value is None:
        return Check("metric", False, None, None, f"{metric.name} has no value on these records")
    if limit.least is not None and metric.gain(value) < metric.gain(limit.least):
        way = "below" if metric.greater_is_better else "above"
        return Check(
            "metric", False, value, limit.least, f"{metric.name} {value:.4f} is {way} {limit.least:g}"
        )
    if not evidence.has_champion:
        return Check(
            "metric", True, value, limit.least, f"{metric.name} {value:.4f}; no champion to compare with"
        )
    found = _paired(evidence.folds, metric, evidence.target, seed, n_bootstrap)
    if found.value is None:
        return Check(
            "metric", False, None, -limit.margin, f"no paired interval of {metric.name}: {found.reason}"
        )
    gain, least = _gain(metric, found)
    worst = gain if least is None else least
    passed = worst >= -limit.margin if least is not None or gain == 0 else False
    ends = "" if found.low is None else f" ({found.low:+.4f} to {found.high:+.4f})"
    told = f"{metric.name} {value:.4f}, {found.value:+.4f}{ends} to the champion's"
    if not passed:
        told += f": may be worse by more than {limit.margin:g}"
    return Check("metric", passed, worst, -limit.margin, told)


def _calibration(evidence: Evidence, limit: CalibrationLimit, *, seed: int, n_bootstrap: int) -> Check:
    ece, slope = metrics.load("ece"), metrics.load("calibration_slope")
    data = [fold.of(CHALLENGER) for fold in evidence.folds]
    found = evaluate(data, [ece, slope], evidence.target, seed, n_replicates=n_bootstrap)
    if "undefined" in found[ece.name]:
        return Check("calibration", False, None, limit.ece, f"no value of {found[ece.name]['undefined']}")
    least, _ = _ends(found[ece.name])
    mean = float(found[ece.name]["mean"])
    told, wrong = f"ece {mean:.4f}", []
    if least > limit.ece:
        wrong.append(f"ece of at least {least:.4f} is above {limit.ece:g}")
    if "mean" in found[slope.name]:  # a model that is sure of everything has none, and an ece that tells it
        low, high = _ends(found[slope.name])
        told += f", slope {found[slope.name]['mean']:.2f} ({low:.2f} to {high:.2f})"
        if high < limit.slope[0] or low > limit.slope[1]:
            wrong.append(f"slope lies outside {limit.slope[0]:g} to {limit.slope[1]:g}")
    return Check("calibration", not wrong, mean, limit.ece, "; ".join([told, *wrong]))


def _ends(result: dict[str, Any]) -> tuple[float, float]:
    """Of the interval; the value itself where there is none."""
    interval, mean = result["interval"], result["mean"]
    return (mean, mean) if interval["low"] is None else (interval["low"], interval["high"])


def _subgroups(
    evidence: Evidence, metric: Metric, limit: SubgroupLimit, *, seed: int, n_bootstrap: int
) -> Check:
    """The worst loss in any subgroup that is large enough, to the champion or else to all records."""
    groups = by_subgroup(
        evidence.folds,
        evidence.families,
        CHALLENGER,
        [metric],
        evidence.target,
        seed=seed,
        n_bootstrap=n_bootstrap,
    )
    large = [group for group in groups if group.small is None]
    lost = _losses(evidence, large, metric, seed, n_bootstrap)
    if not lost:
        return Check("subgroup", True, None, limit.margin, "no subgroup is large enough to judge")
    corrected = holm([p for _, p in lost.values()])
    worse = [
        (loss, title)
        for (title, (loss, _)), p in zip(lost.items(), corrected, strict=True)
        if loss > limit.margin and p is not None and p < ALPHA
    ]
    loss, title = max(worse) if worse else max((loss, title) for title, (loss, _) in lost.items())
    against = "the champion" if evidence.has_champion else "all records"
    told = f"of {len(lost)} subgroups {title} loses most {metric.name} to {against}: {loss:+.4f}"
    if worse:
        told += f", more than {limit.margin:g} and beyond chance"
    return Check("subgroup", not worse, loss, limit.margin, told)


def _losses(
    evidence: Evidence, groups: Sequence[Subgroup], metric: Metric, seed: int, n_bootstrap: int
) -> dict[str, tuple[float, float | None]]:
    """Subgroup -> how much of the metric is lost in it, and the p-value of no loss."""
    found: dict[str, tuple[float, float | None]] = {}
    whole = _whole(evidence, metric)
    for group in groups:
        title, value = f"{group.family} {group.level}", group.values[metric.name]
        if evidence.has_champion:
            levels = evidence.families[group.family]
            inside = [
                fold.take(np.flatnonzero(levels[fold.record] == group.level)) for fold in evidence.folds
            ]
            usable = [fold for fold in inside if _defined(fold, metric, evidence.target)]
            if usable:
                paired = _paired(usable, metric, evidence.target, seed, n_bootstrap)
                if paired.value is not None:
                    found[title] = -_gain(metric, paired)[0], paired.p_value
        elif value.mean is not None and whole is not None:
            loss, error = metric.gain(whole) - metric.gain(value.mean), value.standard_error
            found[title] = loss, None if not error else float(2 * stats.norm.sf(abs(loss) / error))
    return found


def _whole(evidence: Evidence, metric: Metric) -> float | None:
    """The challenger's value on all records; None where it has none."""
    try:
        return float(np.mean([f.of(CHALLENGER).value(metric, evidence.target) for f in evidence.folds]))
    except UndefinedMetric:
        return None


def _misread(evidence: Evidence, limit: MisreadLimit) -> Check:
    """Calls on the hardest units: each is asked about those that the other's single models misread most.

    By their own, or by all, the better one would look worse: what its models are off about, a noisier one
    gets right by luck now and then.
    """
    y, groups = (np.concatenate([getattr(f, name) for f in evidence.folds]) for name in ("y", "group"))
    if not all(evidence.readers(name) for name in (CHALLENGER, CHAMPION)):
        return Check("misread", True, None, limit.margin, "no champion to compare with")
    shares, whole = [], np.zeros(len(y))
    for name, other, sign in ((CHALLENGER, CHAMPION, 1), (CHAMPION, CHALLENGER, -1)):
        hardest = _hardest(evidence, other, y, limit.share)
        if len(hardest) < FEWEST_MISREAD:
            told = f"the hardest {len(hardest)} units are too few to judge"
            return Check("misread", True, None, limit.margin, told)
        wrong = _wrong(evidence, name, y)[hardest]
        shares.append(float(wrong.mean()))
        whole[hardest] += sign * (wrong - wrong.mean()) / len(hardest)
    more = shares[0] - shares[1]
    of_group = np.bincount(np.unique(groups, return_inverse=True)[1].ravel(), whole)  # not independent within
    least = more - float(stats.norm.ppf(0.975)) * float(np.sqrt((of_group**2).sum()))
    passed = more <= limit.margin or least <= 0
    told = (
        f"of the units hardest for the other, {shares[0]:.1%} called wrongly, by the champion {shares[1]:.1%}"
    )
    if not passed:
        told += f": more by over {limit.margin:.0%} and beyond chance"
    return Check("misread", passed, more, limit.margin, told)


def _hardest(evidence: Evidence, name: str, y: FloatArray, share: float) -> IntArray:
    """Positions of the share of the labelled units that the single models of ``name`` are furthest off."""
    scored = evidence.target.scored
    said = [np.concatenate([f.p[r] for f in evidence.folds]) for r in evidence.readers(name)]
    off = np.abs(np.mean(said, axis=0) - y)[:, scored]
    known = ~np.isnan(off).all(axis=1)
    hardness = np.full(len(y), -np.inf)
    hardness[known] = np.nanmean(off[known], axis=1)
    return np.argsort(-hardness, kind="stable")[: int(share * known.sum())]


def _wrong(evidence: Evidence, name: str, y: FloatArray) -> BoolArray:
    """(U,) whether a call of any scored class differs from its label."""
    scored = evidence.target.scored
    called = np.concatenate([fold.called(name) for fold in evidence.folds])[:, scored]
    known = ~np.isnan(y[:, scored])
    return np.asarray((known & (called != (y[:, scored] == 1))).any(axis=1))


def _paired(
    folds: Sequence[FoldPredictions], metric: Metric, target: Target, seed: int, n_bootstrap: int
) -> Difference:
    """Challenger minus champion."""
    data = {name: [fold.of(name) for fold in folds] for name in (CHALLENGER, CHAMPION)}
    return compare(data, metric, target, seed=seed, n_replicates=n_bootstrap)[CHALLENGER, CHAMPION]


def _gain(metric: Metric, found: Difference) -> tuple[float, float | None]:
    """The difference and the end of its interval that is worse for the challenger, greater being better."""
    assert found.value is not None
    if metric.greater_is_better:
        return found.value, found.low
    return -found.value, None if found.high is None else -found.high


def _defined(fold: FoldPredictions, metric: Metric, target: Target) -> bool:
    try:
        for name in (CHALLENGER, CHAMPION):
            fold.of(name).value(metric, target)
    except UndefinedMetric:
        return False
    return len(fold.y) > 0
