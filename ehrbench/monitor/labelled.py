"""Labelled: how good a bundle is by the outcomes that were told of its predictions, as they arrive.

Of one class: AUROC (DeLong's variance by patients, on the logit scale), logistic recalibration (intercept at
slope 1, and slope; sandwich variance by patients), and the share of false alarms, of false calls and of
misses (Wilson, for as many independent units as the patients are worth). All of them at any level, without
resampling, so that each look can ask for its own.

Outcomes come late, and seldom at random: deaths before discharges. So each window of time says how many of
its predictions have an outcome; one that lacks many is marked, not hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, ndtri

from ehrbench import metrics
from ehrbench.core.errors import UndefinedMetric
from ehrbench.core.target import Target
from ehrbench.core.types import BoolArray, FloatArray, StrArray
from ehrbench.statistics.fold_data import FoldData
from ehrbench.statistics.intervals import logit_t, scarcest
from ehrbench.statistics.placements import few_variance, mean_placed, placed

#: Beyond these calibration has failed: the gate's limits of the slope, and odds off by more than half.
SLOPE, INTERCEPT = (0.7, 1.4), (-0.405, 0.405)
#: Of either label; fewer judge nothing.
FEWEST = 10
#: What of a manifest's metrics a figure is compared with; True: the figure is 1 less it.
PROMISES = {
    "auroc": ("auroc", False),
    "calibration_intercept": ("calibration_intercept", False),
    "calibration_slope": ("calibration_slope", False),
    "false_alarms": ("specificity", True),
    "false_calls": ("ppv", True),
    "missed": ("sensitivity", True),
}


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; None, None where there is none, and ``why``."""

    value: float | None
    low: float | None = None
    high: float | None = None
    why: str = ""

    def beyond(self, least: float, most: float) -> bool:
        """Whether all of the interval lies outside."""
        return self.low is not None and self.high is not None and (self.high < least or self.low > most)


@dataclass(frozen=True, eq=False)
class Units:
    """Units of one class with a known outcome: y, p, called, patient (U,)."""

    y: FloatArray
    p: FloatArray
    called: BoolArray
    patient: StrArray

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: Any) -> Units:
        return Units(self.y[index], self.p[index], self.called[index], self.patient[index])

    @property
    def enough(self) -> bool:
        """Whether there are enough of either label to judge by."""
        return min(int(self.y.sum()), int((1 - self.y).sum())) >= FEWEST


def figures(units: Units, level: float = 0.95) -> dict[str, Estimate]:
    """Every figure of ``PROMISES``, with intervals of this level."""
    patient = np.unique(units.patient, return_inverse=True)[1].ravel()
    z = float(ndtri((1 + level) / 2))
    negative, positive = units.y == 0, units.y == 1
    return {
        "auroc": _auroc(units, patient, level),
        **_recalibration(units, patient, z),
        "false_alarms": _share(units.called[negative], patient[negative], z),
        "false_calls": _share(negative[units.called], patient[units.called], z),
        "missed": _share(~units.called[positive], patient[positive], z),
    }


def promised(manifest_metrics: dict[str, Any]) -> dict[str, Estimate]:
    """The same figures as the bundle's manifest has them, under its search's protocol."""
    found = {}
    for name, (metric, turned) in PROMISES.items():
        said = manifest_metrics.get(metric, {})
        if (mean := said.get("mean")) is None:
            found[name] = Estimate(None, why="the bundle's manifest does not say")
            continue
        interval = said.get("interval") or {}
        low, high = interval.get("low"), interval.get("high")
        if turned:
            mean, low, high = 1 - mean, *(None if end is None else 1 - end for end in (high, low))
        found[name] = Estimate(mean, low, high)
    return found


def uncalibrated(found: dict[str, Estimate]) -> str:
    """Why calibration has failed by these figures, beyond chance; "" where it has not."""
    limits = {"calibration_intercept": INTERCEPT, "calibration_slope": SLOPE}
    for name, (least, most) in limits.items():
        if (figure := found[name]).beyond(least, most):
            title, ends = name.replace("_", " "), f"not {least:g} to {most:g}"
            return f"{title} {figure.value:.2f} ({figure.low:.2f} to {figure.high:.2f}), {ends}"
    return ""


def _auroc(units: Units, patient: np.ndarray, level: float) -> Estimate:
    y, p = units.y[:, None], units.p[:, None]
    try:
        (value,), ((variance,),) = mean_placed([placed(y, p[None], patient)])
    except UndefinedMetric as error:
        return Estimate(None, why=str(error))
    if not 0 < value < 1:
        return Estimate(float(value), why="no unit is ranked wrongly, so nothing is known of the doubt")
    folds, target = [FoldData(y, p, patient)], Target("binary", ("outcome",))
    fewest = scarcest(folds, target) or 0
    few = few_variance(folds, target) if fewest < metrics.load("auroc").fewest_events else None
    ends = logit_t(float(value), float(variance) if few is None else few, max(fewest - 1, 1), level)
    return Estimate(float(value), *ends)


def _recalibration(units: Units, patient: np.ndarray, z: float) -> dict[str, Estimate]:
    """Intercept and slope of logit P(y = 1) = a + b logit p, each with its sandwich variance over
    patients."""
    target = Target("binary", ("outcome",))
    x = target.scores(units.p[:, None])[:, 0]
    found = {}
    for name, design, fixed in (
        ("calibration_intercept", np.ones((len(x), 1)), x),
        ("calibration_slope", np.stack([np.ones_like(x), x], axis=1), np.zeros_like(x)),
    ):
        try:
            value = metrics.load(name)(units.y[:, None], units.p[:, None], target=target)
        except UndefinedMetric as error:
            found[name] = Estimate(None, why=str(error))
            continue
        if name == "calibration_slope":  # its intercept, for the residuals
            inner = metrics.load("calibration_intercept")
            p = target.probabilities((value * x)[:, None])
            fixed = value * x + inner(units.y[:, None], p, target=target)
            risk = expit(fixed)
        else:
            risk = expit(value + fixed)
        bread = np.linalg.pinv((design.T * (risk * (1 - risk))) @ design)
        scores = design * (units.y - risk)[:, None]
        by_patient = np.stack([np.bincount(patient, column) for column in scores.T], axis=1)
        spread = float(np.sqrt((bread @ (by_patient.T @ by_patient) @ bread)[-1, -1]))
        found[name] = Estimate(value, value - z * spread, value + z * spread)
    return found


def _share(hit: BoolArray, patient: np.ndarray, z: float) -> Estimate:
    """A share with Wilson's interval (1927), of as many units as its variance by patients is worth."""
    if not len(hit):
        return Estimate(None, why="there is no such unit")
    value, n = float(hit.mean()), float(len(hit))
    variance = float((np.bincount(patient, hit - value) ** 2).sum()) / n**2
    n = min(n, value * (1 - value) / variance) if variance > 0 else float(len(np.unique(patient)))
    middle, half = value + z**2 / (2 * n), z * np.sqrt(value * (1 - value) / n + z**2 / (4 * n**2))
    low, high = (float(np.clip(end / (1 + z**2 / n), 0, 1)) for end in (middle - half, middle + half))
    return Estimate(value, low, high)
