"""The choice among candidates by cross-fitted losses: the best, or the simplest that noise allows.

Noise is that between groups: the beats of one recording, or the images of one patient, err together, and a
standard error that counted them one by one would call luck a difference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehrbench.core.types import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Choice:
    """lowest, simplest: positions of the candidate of least loss, and of the first one within noise of it.

    loss (K,): means over units; excess (K,): over the best, and its standard error over groups.
    """

    lowest: int
    simplest: int
    loss: FloatArray
    excess: FloatArray
    standard_error: FloatArray


def compare(losses: FloatArray, group: IntArray) -> Choice:
    """Compare K candidates; ``simplest`` is the first with a mean loss within one standard error of the best.

    losses: (K, U), simplest candidate first, NaN for units that do not count; group (U,): units of one err
    together. The standard error is of the paired differences: candidates that err on the same units are told
    apart better than their losses vary.
    """
    counted = ~np.isnan(losses).any(axis=0)
    losses = losses[:, counted]  # (K, U')
    if losses.shape[1] == 0:
        nothing = np.zeros(len(losses))
        return Choice(0, 0, nothing, nothing, nothing)
    mean = losses.mean(axis=1)
    difference = losses - losses[np.argmin(mean)]
    excess = difference.mean(axis=1)
    error = standard_error(difference, group[counted])
    return Choice(int(np.argmin(mean)), int(np.argmax(excess <= error + 1e-12)), mean, excess, error)


def standard_error(values: FloatArray, group: IntArray) -> FloatArray:
    """(K,) standard errors of the mean over units of values (K, U), robust to what groups have in common.

    √(Σ_g (Σ_{u in g} (x_u − x̄))²) / U (Liang & Zeger 1986, Biometrika 73:13, of a mean); with one unit a
    group the plain one.
    """
    names, member = np.unique(group, return_inverse=True)
    n, mean = values.shape[1], values.mean(axis=1, keepdims=True)
    if len(names) == n:
        return np.asarray(values.std(axis=1) / np.sqrt(n))
    sums = np.stack([np.bincount(member.ravel(), row) for row in values - mean])  # (K, G)
    return np.asarray(np.sqrt((sums**2).sum(axis=1)) / n)
