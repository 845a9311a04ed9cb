"""Figures by outcomes told: values as the metrics have them, intervals that hold, calibration that fails."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import binomtest

from ehrbench import metrics
from ehrbench.core.target import Target
from ehrbench.monitor.labelled import Estimate, Units, figures, promised, uncalibrated
from ehrbench.statistics.fold_data import FoldData
from ehrbench.statistics.intervals import group_bootstraps

TARGET = Target("binary", ("death",))


def units(rng: np.random.Generator, n: int, slope: float = 1.0, intercept: float = 0.0) -> Units:
    """Probabilities for outcomes that are drawn from their recalibration."""
    p = expit(rng.normal(-1.5, 1.2, n))
    y = (rng.random(n) < expit(intercept + slope * logit(p))).astype(np.float64)
    return Units(y, p, p >= 0.3, np.arange(n).astype(str))


def test_figures_are_the_metrics_and_their_intervals_the_bootstraps() -> None:
    one = units(np.random.default_rng(0), 1500)
    found = figures(one)
    fold = FoldData(one.y[:, None], one.p[:, None], one.patient, np.array([0.3]))
    names = ("auroc", "calibration_intercept", "calibration_slope", "specificity", "ppv", "sensitivity")
    chosen = [metrics.load(name) for name in names]
    bootstrapped = group_bootstraps([fold], chosen, TARGET, seed=1, n_replicates=800)
    for metric, (name, figure) in zip(chosen, found.items(), strict=True):
        value, interval = fold.value(metric, TARGET), bootstrapped[metric.name]
        ends = [interval.low, interval.high]
        if name in ("false_alarms", "false_calls", "missed"):
            value, ends = 1 - value, [1 - end for end in ends[::-1]]  # type: ignore[operator]
        assert figure.value == pytest.approx(value)
        width = ends[1] - ends[0]  # type: ignore[operator]
        assert [figure.low, figure.high] == pytest.approx(ends, abs=0.15 * width)


def test_shares_have_wilsons_interval_and_patients_of_many_units_a_wider_one() -> None:
    one = units(np.random.default_rng(1), 400)
    found = figures(one)["false_alarms"]
    negative = one.y == 0
    wilson = binomtest(int(one.called[negative].sum()), int(negative.sum())).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((wilson.low, wilson.high))
    often = one.take(np.repeat(np.arange(400), 5))
    wide = figures(often)["false_alarms"]
    assert (wide.low, wide.high) == pytest.approx((wilson.low, wilson.high), abs=1e-3)


def test_calibration_fails_beyond_chance_only() -> None:
    rng = np.random.default_rng(2)
    assert uncalibrated(figures(units(rng, 2000))) == ""
    assert uncalibrated(figures(units(rng, 60, slope=0.5))) == ""  # too few to say
    turned = units(rng, 3000, slope=0.4, intercept=-0.6)
    assert uncalibrated(figures(turned)).startswith("calibration slope 0.3")
    assert uncalibrated(figures(units(rng, 3000, intercept=0.8))).startswith("calibration intercept 0.")


def test_what_was_promised_is_the_manifests_with_shares_turned() -> None:
    said = {
        "auroc": {"mean": 0.8, "interval": {"low": 0.78, "high": 0.82}},
        "specificity": {"mean": 0.9, "interval": {"low": 0.88, "high": 0.93}},
        "ppv": {"undefined": "nobody is called"},
    }
    found = promised(said)
    assert found["auroc"] == Estimate(0.8, 0.78, 0.82)
    assert found["false_alarms"].low == pytest.approx(0.07)
    assert found["false_alarms"].high == pytest.approx(0.12)
    assert found["false_calls"].value is None
    assert found["missed"].why == "the bundle's manifest does not say"


def test_a_figure_that_cannot_be_had_says_why() -> None:
    one = units(np.random.default_rng(3), 50)
    perfect = Units((one.p > 0.5).astype(np.float64), one.p, one.p > 0.5, one.patient)
    found = figures(perfect)
    assert found["auroc"].low is None
    assert found["auroc"].why
    assert found["calibration_slope"].why
    nobody = Units(one.y, one.p, np.zeros(50, dtype=bool), one.patient)
    assert figures(nobody)["false_calls"].why == "there is no such unit"
