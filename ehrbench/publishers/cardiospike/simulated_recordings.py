"""Simulated RR recordings in CardioSpike's format.

An interval is a slow drift times respiratory (about 0.25 Hz) and low-frequency (about 0.1 Hz) modulation of
the heart's rate (Task Force of the ESC and NASPE 1996), with noise. An anomaly is a surge: the intervals fall
within a few beats, and come back, sometimes beyond where they were. What only looks like one makes it hard:
ectopic beats with their pauses, beats that the reader missed or counted twice, slow rises of the rate, and
sighs, which are surges too shallow to be marked. Where a cardiologist sets the ends of a run varies by a beat
or two.

Counts follow the publisher's: 32 to 3,661 beats a recording, runs of 6 to 41 beats, about one beat in seven
marked, something marked in every recording.
"""

from __future__ import annotations

import numpy as np

from ehrbench.core.digest import derive_seed
from ehrbench.core.types import FloatArray

FEWEST, MOST = 32, 3661
SHORTEST, LONGEST = 6, 41
#: Runs a beat, and mean beats of a run: 791 runs, 14.8 % of 60,487 beats.
_RUNS, _MEAN_RUN = 0.0131, 11.3


def simulated_recordings(n: int, seed: int) -> tuple[list[FloatArray], list[FloatArray]]:
    """For each of n recordings the intervals in ms and the label of each beat."""
    rng = np.random.default_rng(derive_seed(seed, "cardiospike"))
    found = [_recording(rng) for _ in range(n)]
    return [rr for rr, _ in found], [y for _, y in found]


def _recording(rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    n = int(np.clip(rng.lognormal(5.1, 0.9), FEWEST, MOST))
    log_rr = np.log(np.clip(rng.normal(800, 110), 500, 1200)) + _rhythm(n, rng)
    y = np.zeros(n)
    for _ in range(max(1, rng.poisson(_RUNS * n))):
        length = SHORTEST - 1 + int(rng.geometric(1 / (_MEAN_RUN - SHORTEST + 1)))
        length = min(length, LONGEST, n // 2)
        if (start := _place(y, length, rng)) is not None:
            log_rr[start : start + length] += _surge(length, rng.lognormal(-1.75, 0.4), rng)
            ends = (np.array([start, start + length]) + rng.integers(-1, 2, size=2)).clip(0, n)
            y[ends[0] : max(int(ends[1]), int(ends[0]) + SHORTEST)] = 1
    for _ in range(rng.poisson(0.006 * n)):  # sighs
        length = int(rng.integers(6, 16))
        if (start := _place(y, length, rng)) is not None:
            log_rr[start : start + length] += _surge(length, rng.lognormal(-2.7, 0.4), rng)
    return _with_odd_beats(np.exp(log_rr), rng).clip(250, 2500), y


def _rhythm(n: int, rng: np.random.Generator) -> FloatArray:
    """(n,) log of the interval about its level: drift, low frequency, breath, noise."""
    beat = np.arange(n) * 0.8  # s
    breath = rng.uniform(0.18, 0.35) * (1 + 0.1 * np.cumsum(rng.normal(0, 0.02, n)))
    slow = rng.uniform(0.07, 0.13)
    depth = rng.lognormal(-4.0, 0.5)
    drift = np.cumsum(rng.normal(0, 0.002, n))
    for _ in range(rng.poisson(0.003 * n)):  # standing up, lying down: a rise of the rate over many beats
        drift += rng.normal(0, 0.06) / (1 + np.exp(-(np.arange(n) - rng.integers(n)) / rng.uniform(5, 25)))
    waves = depth * np.sin(2 * np.pi * breath * beat + rng.uniform(0, 6.3))
    waves += rng.lognormal(-4.0, 0.4) * np.sin(2 * np.pi * slow * beat + rng.uniform(0, 6.3))
    noise = rng.normal(0, rng.lognormal(-4.6, 0.4), n)
    return np.asarray(drift - drift.mean() + waves + noise)


def _surge(length: int, depth: float, rng: np.random.Generator) -> FloatArray:
    """(length,) change of the log interval: down within its first part, back up, at times beyond."""
    through = (np.arange(length) + 0.5) / length
    turn = rng.uniform(0.25, 0.6)
    fall = np.where(through < turn, through / turn, (1 - through) / (1 - turn))
    over = rng.uniform(0, 0.5) * np.sin(np.pi * ((through - turn) / (1 - turn)).clip(0, 1)) ** 2
    return depth * (over * (through > turn) - np.sqrt(fall))


def _place(y: FloatArray, length: int, rng: np.random.Generator) -> int | None:
    """Where a run of ``length`` beats has nothing marked in it or beside it; None where that is not found."""
    for _ in range(20):
        start = int(rng.integers(0, max(len(y) - length, 1)))
        if not y[max(start - 4, 0) : start + length + 4].any():
            return start
    return None


def _with_odd_beats(rr: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Ectopic beats (early, then a pause), missed beats (two intervals in one) and beats counted twice."""
    rr = rr.copy()
    often = rng.choice([0.001, 0.004, 0.02], p=[0.5, 0.35, 0.15])
    for i in np.flatnonzero(rng.random(len(rr) - 1) < often):
        early = rng.uniform(0.55, 0.85)
        rr[i + 1] += (1 - early) * rr[i] * rng.uniform(0.5, 1.1)
        rr[i] *= early
    for i in np.flatnonzero(rng.random(len(rr)) < 0.002):
        rr[i] *= rng.choice([2.0, 0.5])
    return rr
