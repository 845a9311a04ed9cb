"""Logistic recalibration: logit P(y = 1) = a + b · logit(p), by maximum likelihood (Cox 1958).

Newton's method. For many weight vectors it starts from the fit of all units once: the first step is then a
matrix product, and one or two more reach the last digits. Rows that do not get there are fitted one by one:
an intercept alone by bracketing (its score falls all the way, and Newton's method can leave for good where
all risks are near 0 or 1), two coefficients with step halving; those have no fit where a cut of p parts the
outcomes.

Logits are those of ``Target.scores``: probabilities are held 1e-7 from 0 and 1.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from ehrbench.core.target import Target
from ehrbench.core.types import BoolArray, FloatArray
from ehrbench.metrics._at_once import Weighted

_MOST_STEPS, _TOLERANCE = 100, 1e-10
#: A Newton step as small as this leaves an error of its square.
_NEAR = 1e-6
#: Coefficients beyond this do not make a step count as small.
_LARGE = 100.0


def logits(p: FloatArray) -> FloatArray:
    """(n,) logits of probabilities (n,)."""
    return Target("binary", ("positive",)).scores(p[:, None])[:, 0]


def separated(y: FloatArray, x: FloatArray) -> bool:
    """Whether some cut of x leaves no positive on one side and no negative on the other."""
    positive, negative = x[y == 1], x[y == 0]
    return bool(negative.max() <= positive.min() or positive.max() <= negative.min())


def maximum_likelihood(y: FloatArray, design: FloatArray, offset: FloatArray) -> Weighted:
    """Function from weights (R, n) to the last coefficient (R,); NaN where there is none.

    design: (n, K) columns whose coefficients are fitted; offset: (n,) added to the linear predictor.
    """

    classes = np.stack([y == 1, y == 0], axis=1).astype(np.float64)
    start = _fit(y, design, offset, np.ones_like(y)) if classes.any(axis=0).all() else np.array([np.nan])

    def values(weights: FloatArray) -> FloatArray:
        out = np.full(len(weights), np.nan)
        rows = np.flatnonzero((weights @ classes > 0).all(axis=1))
        if len(rows) and np.isfinite(start).all():  # else no subset of the units has a fit either
            out[rows] = _fit_many(y, design, offset, weights[rows], start)[:, -1]
        return out

    return values


def _fit(y: FloatArray, design: FloatArray, offset: FloatArray, weight: FloatArray) -> FloatArray:
    """Coefficients (K,) for one weight vector (n,); NaN where separated."""
    kept = weight > 0
    y, design, offset, weight = y[kept], design[kept], offset[kept], weight[kept]
    if design.shape[1] == 1:
        return np.array([_intercept(y, offset, weight)])
    if separated(y, design[:, -1]):
        return np.full(design.shape[1], np.nan)

    def loss(beta: FloatArray) -> float:
        score = offset + design @ beta
        return float(weight @ (np.logaddexp(0, score) - y * score))

    beta = np.zeros(design.shape[1])
    best = loss(beta)
    for _ in range(_MOST_STEPS):
        risk = expit(offset + design @ beta)
        gradient = design.T @ (weight * (y - risk))
        step = np.linalg.lstsq((design.T * (weight * risk * (1 - risk))) @ design, gradient, rcond=None)[0]
        for _ in range(40):
            if (now := loss(beta + step)) <= best + 1e-12 * abs(best):
                break
            step = step / 2
        else:
            return np.full(design.shape[1], np.nan)
        beta, best = beta + step, now
        if np.abs(step).max() <= _TOLERANCE * (1 + np.abs(beta).max()):
            return np.asarray(beta)
    return np.full(design.shape[1], np.nan)


def _intercept(y: FloatArray, offset: FloatArray, weight: FloatArray) -> float:
    """The a at which the weighted risks expit(a + offset) sum to the positives; both classes are there."""
    far = float(np.abs(offset).max() + 40 + np.log(weight.sum() / weight.min()))
    return float(brentq(lambda a: weight @ (y - expit(a + offset)), -far, far, xtol=1e-13))


def _fit_many(
    y: FloatArray, design: FloatArray, offset: FloatArray, weights: FloatArray, start: FloatArray
) -> FloatArray:
    """Coefficients (R, K) for weights (R, n), from a start (K,) near all of them."""
    k = design.shape[1]
    products = (design[:, :, None] * design[:, None, :]).reshape(len(y), k * k)  # (n, K²)
    risk = expit(offset + design @ start)
    gradient = weights @ (design * (y - risk)[:, None])  # (R, K)
    hessian = weights @ (products * (risk * (1 - risk))[:, None])  # (R, K²)
    beta = np.tile(start, (len(weights), 1))
    still = np.arange(len(weights))  # rows that have not arrived
    for _ in range(12):
        step, ok = _solve(hessian.reshape(-1, k, k), gradient)
        beta[still] += step
        size = np.minimum(np.abs(beta[still]).max(axis=1), _LARGE)
        arrived = ok & (np.abs(step).max(axis=1) <= _NEAR * (1 + size))
        still = still[~arrived]
        if len(still) == 0:
            return beta
        beta[still[~np.isfinite(beta[still]).all(axis=1)]] = start
        w = weights if len(still) == len(weights) else weights[still]
        with np.errstate(over="ignore"):  # where exp overflows the risk is the 0 that it should be
            risk = 1 / (1 + np.exp(-(beta[still] @ design.T + offset)))  # (R', n)
        gradient = (w * (y - risk)) @ design
        hessian = (w * (risk * (1 - risk))) @ products
    for r in still:
        beta[r] = _fit(y, design, offset, weights[r])
    return beta


def _solve(hessian: FloatArray, gradient: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Steps (R, K) and whether each system could be solved (R,); K is 1 or 2."""
    if hessian.shape[1] == 1:
        determinant, adjugate = hessian[:, 0, 0], np.ones_like(hessian)
    else:
        a, b, c = hessian[:, 0, 0], hessian[:, 0, 1], hessian[:, 1, 1]
        determinant = a * c - b * b
        adjugate = np.stack([np.stack([c, -b], axis=1), np.stack([-b, a], axis=1)], axis=1)
    ok = determinant > 1e-14 * np.abs(hessian).max(axis=(1, 2)) ** hessian.shape[1]
    step = np.einsum("rij,rj->ri", adjugate, gradient)
    return np.divide(step, determinant[:, None], out=np.zeros_like(step), where=ok[:, None]), ok
