"""Regularised logistic and multinomial regression with few coefficients, for stacks and calibrators.

Minimises  mean loss + ½ Σ_d ridge_d (θ_d − centre_d)²  subject to θ ≥ lower, by Newton's method with step
halving. The problem is convex; each bounded step is a small quadratic programme solved exactly.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import lsq_linear
from scipy.special import expit, logsumexp, softmax

from ehrbench.core.types import FloatArray

_MOST_STEPS, _TOLERANCE = 100, 1e-8


def minimise(
    features: FloatArray,
    y: FloatArray,
    *,
    ridge: FloatArray,
    centre: FloatArray,
    lower: FloatArray,
    start: FloatArray | None = None,
) -> FloatArray:
    """Coefficients (D,).

    features: (U, K, D), so that the scores (U, K) are ``features @ θ``; K = 1 is logistic, more is softmax.
    y: (U, K) of 0 and 1. ridge: (D,), each > 0, which makes the minimum unique and finite.
    """
    theta = np.maximum(centre if start is None else start, lower)
    value = _objective(features, y, theta, ridge, centre)
    for _ in range(_MOST_STEPS):
        gradient, hessian = _derivatives(features, y, theta)
        gradient, hessian = gradient + ridge * (theta - centre), hessian + np.diag(ridge)
        step = _bounded_step(gradient, hessian, lower - theta)
        if np.abs(step).max() <= _TOLERANCE * (1 + np.abs(theta).max()):
            break
        scale = 1.0
        while (new := _objective(features, y, theta + scale * step, ridge, centre)) > value and scale > 1e-9:
            scale /= 2
        if new >= value:  # no further to the last digit
            break
        theta, value = np.maximum(theta + scale * step, lower), new
    return np.asarray(theta)


def _objective(
    features: FloatArray, y: FloatArray, theta: FloatArray, ridge: FloatArray, centre: FloatArray
) -> float:
    score = features @ theta  # (U, K)
    if y.shape[1] == 1:
        loss = np.logaddexp(0, score) - y * score
    else:
        loss = logsumexp(score, axis=1) - (y * score).sum(axis=1)
    return float(loss.sum() / len(y) + 0.5 * (ridge * (theta - centre) ** 2).sum())


def _derivatives(features: FloatArray, y: FloatArray, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Gradient (D,) and Hessian (D, D) of the mean loss."""
    n, k, d = features.shape
    score = features @ theta
    p = expit(score) if k == 1 else softmax(score, axis=1)
    flat = features.reshape(n * k, d)
    gradient = flat.T @ (p - y).ravel() / n
    if k == 1:
        return gradient, (flat * (p * (1 - p))).T @ flat / n
    mean = np.einsum("uk,ukd->ud", p, features)
    return gradient, ((flat * p.reshape(-1, 1)).T @ flat - mean.T @ mean) / n


def _bounded_step(gradient: FloatArray, hessian: FloatArray, lower: FloatArray) -> FloatArray:
    """(D,) argmin of gᵀs + ½ sᵀHs subject to s ≥ lower (which is ≤ 0)."""
    step = np.linalg.solve(hessian, -gradient)
    if (step >= lower).all():
        return np.asarray(step)
    root = np.linalg.cholesky(hessian)  # H = L Lᵀ: minimise ‖Lᵀ s + L⁻¹ g‖²
    target = -np.linalg.solve(root, gradient)
    bounds = (np.minimum(lower, 0.0) - 1e-300, np.full(len(lower), np.inf))
    return np.asarray(np.maximum(lsq_linear(root.T, target, bounds, method="bvls").x, lower))


def with_bias(z: FloatArray) -> FloatArray:
    """Features (U, K, M + K) of M score matrices (M, U, K): one coefficient a matrix and a bias a column."""
    m, n, k = z.shape
    features = np.zeros((n, k, m + k))
    features[:, :, :m] = np.moveaxis(z, 0, -1)
    features[:, np.arange(k), m + np.arange(k)] = 1
    return features
