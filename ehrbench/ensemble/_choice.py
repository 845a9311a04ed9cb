"""The choice among candidates by cross-fitted losses: the best, or the simplest that noise allows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehrbench.core.types import FloatArray


@dataclass(frozen=True, eq=False)
class Choice:
    """lowest, simplest: positions of the candidate of least loss, and of the first one within noise of it.

    loss (K,): means; excess (K,): over the best, and its standard error.
    """

    lowest: int
    simplest: int
    loss: FloatArray
    excess: FloatArray
    standard_error: FloatArray


def compare(losses: FloatArray) -> Choice:
    """Compare K candidates; ``simplest`` is the first with a mean loss within one standard error of the best.

    losses: (K, U), simplest candidate first, NaN for units that do not count. The standard error is of the
    paired differences: candidates that err on the same units are told apart better than their losses vary.
    """
    losses = losses[:, ~np.isnan(losses).any(axis=0)]  # (K, U')
    if losses.shape[1] == 0:
        nothing = np.zeros(len(losses))
        return Choice(0, 0, nothing, nothing, nothing)
    mean = losses.mean(axis=1)
    difference = losses - losses[np.argmin(mean)]
    excess = difference.mean(axis=1)
    error = difference.std(axis=1) / np.sqrt(losses.shape[1])
    return Choice(int(np.argmin(mean)), int(np.argmax(excess <= error + 1e-12)), mean, excess, error)
