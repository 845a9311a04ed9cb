"""Expected: AUROC before any outcome is known, from calibrated probabilities.

CBPE, confidence-based performance estimation (Kivimäki et al. 2024, arXiv 2407.08649): where a probability of
0.2 comes true twice in ten times, the outcomes that predictions will have can be drawn from the probabilities
themselves, and the AUROC that they will give computed of each draw. The mean is the estimate, the quantiles
hold the AUROC that outcomes will show. How well calibrated the probabilities are is known with doubt only, so
each draw recalibrates them by an intercept and a slope from their own intervals.

It sees a change of who comes (the mix of patients), never one of what becomes of them: there only outcomes
help. It is refused where calibration failed, or nothing says how good it is; and where a record owns several
units, whose outcomes are not drawn one by one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from scipy.stats import rankdata

from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray
from ehrbench.monitor.labelled import Estimate, uncalibrated

N_DRAWS = 500
#: Units drawn at once, the latest; and the fewest that say anything.
MOST, LEAST = 5000, 100
#: Half the width of a 95 % interval in standard errors.
Z = 1.96


@dataclass(frozen=True)
class Expected:
    """auroc: with a 95 % interval of what outcomes will show; or why there is none. n: units."""

    auroc: Estimate
    n: int
    calibration: str


def expected_auroc(
    p: FloatArray, calibration: dict[str, Estimate], source: str, *, several: bool, seed: int
) -> Expected:
    """Of the latest units' probabilities p (U,) of one class.

    calibration: figures that hold ``calibration_intercept`` and ``calibration_slope``, and where they are
    from; several: records own several units.
    """
    p = p[-MOST:]
    refused = _refused(p, calibration, source, several)
    if refused:
        return Expected(Estimate(None, why=refused), len(p), source)
    rng = np.random.default_rng(seed)
    a, b = (_drawn(calibration[name], rng) for name in ("calibration_intercept", "calibration_slope"))
    x = Target("binary", ("outcome",)).scores(p[:, None])[:, 0]
    middle = float(np.average(x, weights=expit(x) * expit(-x)))
    # turned about where most is known, so that the two are as good as independent
    risk = expit((a + middle)[:, None] + b[:, None] * (x - middle))  # (R, U)
    y = rng.random(risk.shape) < risk
    m = y.sum(axis=1, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = (y @ rankdata(p) - m * (m + 1) / 2) / (m * (len(p) - m))
    defined = values[np.isfinite(values)]
    if len(defined) < 0.95 * N_DRAWS:
        why = "so few outcomes are expected that AUROC may not exist"
        return Expected(Estimate(None, why=why), len(p), source)
    low, high = np.quantile(defined, [0.025, 0.975]).tolist()
    return Expected(Estimate(float(defined.mean()), low, high), len(p), source)


def _refused(p: FloatArray, calibration: dict[str, Estimate], source: str, several: bool) -> str:
    if several:
        return "records own several units, whose outcomes hang together"
    if len(p) < LEAST:
        return f"fewer than {LEAST} predictions"
    if any(figure.low is None for name, figure in calibration.items() if name.startswith("calibration")):
        return f"nothing says how well it is calibrated ({source})"
    if why := uncalibrated(calibration):
        return f"calibration has failed ({source}): {why}"
    return ""


def _drawn(figure: Estimate, rng: np.random.Generator) -> FloatArray:
    assert figure.value is not None
    assert figure.low is not None
    assert figure.high is not None
    return rng.normal(figure.value, (figure.high - figure.low) / (2 * Z), N_DRAWS)
