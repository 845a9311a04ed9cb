"""Neighbourhoods: the beats around each beat of a recording, and what is computed of them.

A neighbourhood of h beats to either side is a row of 2 h + 1; beyond a recording's ends it goes on with the
recording mirrored, as the CardioSpike winners' did, so that every recording, even of one beat, has a value
everywhere and none depends on others.
"""

from __future__ import annotations

import numpy as np

from ehrbench.core.types import FloatArray


def mirrored(x: FloatArray, reach: int) -> FloatArray:
    """(n + 2 reach,) x with its ends mirrored, the end itself repeated; n may be 1."""
    return np.pad(x, reach, mode="symmetric")


def windows(x: FloatArray, half: int) -> FloatArray:
    """(n, 2 half + 1) view of the values around each of x (n,)."""
    return np.lib.stride_tricks.sliding_window_view(mirrored(x, half), 2 * half + 1)


def running_mean(x: FloatArray, half: int) -> FloatArray:
    """(n,) mean of each neighbourhood, by sums once over the recording."""
    return before_after(x, half, half)


def before_after(x: FloatArray, before: int, after: int) -> FloatArray:
    """(n,) mean of the ``before`` values before each, itself, and the ``after`` values after it."""
    reach = max(before, after)
    total = np.concatenate([[0.0], np.cumsum(mirrored(x, reach), dtype=np.float64)])
    low, high = reach - before, reach + after + 1
    return np.asarray((total[high : high + len(x)] - total[low : low + len(x)]) / (before + after + 1))


def running_deviation(x: FloatArray, half: int) -> FloatArray:
    """(n,) standard deviation of each neighbourhood."""
    level = x - x.mean()  # so that squares lose no digits
    variance = running_mean(level**2, half) - running_mean(level, half) ** 2
    return np.asarray(np.sqrt(variance.clip(min=0)))


def running_quantiles(x: FloatArray, half: int, shares: tuple[float, ...]) -> FloatArray:
    """(n, shares) order statistics of each neighbourhood: its nearest ranks, not interpolated."""
    ordered = np.sort(windows(x, half), axis=1)
    return np.asarray(ordered[:, [round(share * 2 * half) for share in shares]])


def running_rank(x: FloatArray, half: int) -> FloatArray:
    """(n,) share of its neighbourhood that each value exceeds, ties counted half."""
    around, own = windows(x, half), x[:, None]
    return np.asarray(((around < own).mean(axis=1) + (around <= own).mean(axis=1)) / 2)


def running_slope(x: FloatArray, half: int) -> FloatArray:
    """(n,) slope a beat of the least-squares line through each neighbourhood."""
    at = np.arange(-half, half + 1)
    return np.asarray(windows(x, half) @ (at / (at**2).sum()))


def running_autocorrelation(x: FloatArray, half: int, lag: int) -> FloatArray:
    """(n,) of each neighbourhood's values with those ``lag`` later; 0 where nothing varies."""
    level = x - x.mean()
    later = np.concatenate([level[lag:], level[-1:].repeat(min(lag, len(x)))])[: len(x)]
    mean, mean_later = running_mean(level, half), running_mean(later, half)
    covariance = running_mean(level * later, half) - mean * mean_later
    scale = running_deviation(level, half) * running_deviation(later, half)
    return np.where(scale > 1e-9, covariance / np.maximum(scale, 1e-9), 0.0).clip(-1, 1)
