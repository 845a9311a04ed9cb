"""CBPE: its interval holds the AUROC that outcomes show later; it is refused where it cannot be trusted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import mannwhitneyu

from ehrbench.monitor.expected import expected_auroc
from ehrbench.monitor.labelled import Estimate, figures
from tests.monitor.test_labelled import units

KNOWN = {"calibration_intercept": Estimate(0.0, -0.02, 0.02), "calibration_slope": Estimate(1.0, 0.98, 1.02)}


def later(rng: np.random.Generator, p: np.ndarray, slope: float = 1.0) -> float:
    """The AUROC that outcomes show."""
    y = rng.random(len(p)) < expit(slope * logit(p))
    return float(mannwhitneyu(p[y], p[~y]).statistic / (y.sum() * (~y).sum()))


@pytest.mark.parametrize("slope", [1.0, 0.85])
def test_the_interval_holds_the_auroc_that_outcomes_show(slope: float) -> None:
    """Other patients than those that calibration was seen on, and another mix of risks."""
    held, n_tries = 0, 60
    for seed in range(n_tries):
        rng = np.random.default_rng(seed)
        seen = figures(units(rng, 800, slope))
        p = expit(rng.normal(-0.5, 0.8, 500))
        found = expected_auroc(p, seen, "by outcomes told", several=False, seed=seed)
        assert found.auroc.low is not None, found.auroc.why
        assert found.auroc.high is not None
        held += found.auroc.low <= later(rng, p, slope) <= found.auroc.high
    assert held >= 0.9 * n_tries


def test_it_is_the_auroc_of_calibrated_probabilities() -> None:
    rng = np.random.default_rng(0)
    p = expit(rng.normal(-1, 1.5, 5000))
    found = expected_auroc(p, KNOWN, "known", several=False, seed=1)
    assert found.auroc.value == pytest.approx(np.mean([later(rng, p) for _ in range(50)]), abs=0.003)
    assert found.n == 5000


@pytest.mark.parametrize(
    ("calibration", "several", "n", "why"),
    [
        (
            {**KNOWN, "calibration_slope": Estimate(0.5, 0.4, 0.6)},
            False,
            500,
            "calibration has failed (known)",
        ),
        ({**KNOWN, "calibration_intercept": Estimate(0.9, 0.7, 1.1)}, False, 500, "calibration has failed"),
        (
            {**KNOWN, "calibration_slope": Estimate(None)},
            False,
            500,
            "nothing says how well it is calibrated",
        ),
        (KNOWN, True, 500, "several units"),
        (KNOWN, False, 99, "fewer than 100 predictions"),
    ],
)
def test_it_is_refused(calibration: dict[str, Estimate], several: bool, n: int, why: str) -> None:
    p = expit(np.random.default_rng(0).normal(-1, 1, n))
    found = expected_auroc(p, calibration, "known", several=several, seed=1)
    assert found.auroc.value is None
    assert why in found.auroc.why
