"""Drawn chests with a planted mark: half of them have a bright spot somewhere, and only that is the label."""

from __future__ import annotations

import numpy as np

from ehrbench.core.records import Records
from ehrbench.core.types import IntArray
from ehrbench.features.pictures import Pictures
from ehrbench.tasks.radiographs.phantom import chest
from ehrbench.tasks.radiographs.reading import picture_records

#: Pixels of a side of an image, and of its mark.
SIZE, MARK = 64, 12


def marked(n: int, seed: int) -> tuple[Records, IntArray]:
    """Records, the first half marked, and the middle (n, 2) of each mark, row and column."""
    rng = np.random.default_rng(seed)
    pixels = np.stack([chest(SIZE, seed * 10_000 + k) for k in range(n)])
    middles = rng.integers(MARK, SIZE - MARK, size=(n, 2))
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    for k in range(n // 2):
        distance = np.hypot(y - middles[k, 0], x - middles[k, 1])
        pixels[k] = np.where(distance < MARK / 2, 250, pixels[k])
    ids = [f"chest-{seed}-{k}" for k in range(n)]
    labels = (np.arange(n) < n // 2).astype(np.float64)[:, None]
    return picture_records(ids, ids, Pictures.single(pixels), target=labels), middles
