"""Pooled: a picture as a table of what each of its cells looks like, for trees and linear models.

Each image is centred and scaled by its own mean and deviation, then cut into cells: mean, deviation, and how
much of its edges runs in each of eight directions (histograms of oriented gradients, Dalal & Triggs 2005,
without their overlapping blocks). Several images of a record are averaged. Columns are named by the region
(``pictures.REGIONS``) that the cell lies in, ``row 1 column 2.mean@0,3``, so evidence adds up by region.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ehrbench.core.errors import ConfigError
from ehrbench.core.featurizer import Featurizer
from ehrbench.core.records import Records
from ehrbench.core.types import FloatArray
from ehrbench.core.views import Table, View, grouped, offsets
from ehrbench.features.completing import Completing
from ehrbench.features.pictures import GRID, REGIONS, Pictures
from ehrbench.features.stored import stored_rows

DIRECTIONS = 8
#: Images at once, and what is added to an image's deviation (of 255) so that an empty one stays empty.
BATCH, FLOOR = 512, 12.0


class Pooled(Featurizer):
    """``Pictures`` to ``Table``.

    Parameters
    ----------
    cells: of a row and of a column of the image; a multiple of ``pictures.GRID``.
    scaling: None (raw), or a method of ``Scaling``.
    """

    def __init__(self, cells: int = 8, scaling: str | None = None) -> None:
        if not isinstance(cells, int) or isinstance(cells, bool) or cells < GRID or cells % GRID:
            raise ConfigError("cells", f"{cells!r} is not a multiple of {GRID}", "take 4, 8, 12 or 16")
        self.cells, self.scaling = cells, scaling
        self._completing = None if scaling is None else Completing(scaling)

    def settings(self) -> dict[str, Any]:
        return {"cells": self.cells, "scaling": self.scaling}

    @property
    def key(self) -> str:
        """Scaling is fitted: with and without it the rows are the same."""
        return f"{type(self).__qualname__} {self.cells}"

    def rows(self, records: Records) -> View:
        return stored_rows(self.key, records, lambda: self._table(records))

    def _table(self, records: Records) -> Table:
        payload = records.payload
        assert isinstance(payload, Pictures)
        names = self._names()
        blocks = [np.zeros((0, len(names)), dtype=np.float32)]
        for start in range(0, len(payload.images), BATCH):
            blocks.append(self._pooled(payload.pixels[payload.images[start : start + BATCH]]))
        of_image, starts = np.concatenate(blocks), offsets(payload.n_images)[:-1]
        if not len(payload):
            return Table(of_image, names, parameter_of=grouped(names))
        total = np.add.reduceat(of_image.astype(np.float64), starts, axis=0)
        means = (total / payload.n_images[:, None]).astype(np.float32)
        return Table(means, names, parameter_of=grouped(names))

    def _pooled(self, pixels: np.ndarray) -> FloatArray:
        """(B, H, W) uint8 -> (B, F) float32, statistic by statistic, cell by cell."""
        x = pixels.astype(np.float32)
        x -= x.mean((1, 2), keepdims=True)
        x /= x.std((1, 2), keepdims=True) + FLOOR
        down, across = np.gradient(x, axis=(1, 2))
        steepness = np.hypot(down, across)
        steepness /= steepness.mean((1, 2), keepdims=True) + 1e-3
        direction = np.floor(np.arctan2(down, across) / np.pi * DIRECTIONS).astype(np.int64) % DIRECTIONS
        mean = self._cells(x)
        deviation = np.sqrt(np.maximum(self._cells(x * x) - mean**2, 0))
        edges = [self._cells(steepness * (direction == d)) for d in range(DIRECTIONS)]
        return np.concatenate([mean, deviation, *edges], axis=1).astype(np.float32)

    def _cells(self, x: FloatArray) -> FloatArray:
        """(B, H, W) -> (B, cells²) means."""
        edges = [np.arange(self.cells) * n // self.cells for n in x.shape[1:]]
        sums = np.add.reduceat(np.add.reduceat(x, edges[0], axis=1), edges[1], axis=2)
        counts = [np.diff(np.append(e, n)) for e, n in zip(edges, x.shape[1:], strict=True)]
        return (sums / np.outer(*counts)).reshape(len(x), -1)

    def _names(self) -> tuple[str, ...]:
        statistics = ("mean", "deviation", *(f"edges{180 * d // DIRECTIONS:03}" for d in range(DIRECTIONS)))
        span = self.cells // GRID
        places = [(r, c) for r in range(self.cells) for c in range(self.cells)]
        return tuple(
            f"{REGIONS[r // span * GRID + c // span]}.{statistic}@{r},{c}"
            for statistic in statistics
            for r, c in places
        )

    def fit_rows(self, view: View) -> None:
        assert isinstance(view, Table)
        if self._completing is not None:
            self._completing.fit(view)

    def apply(self, view: View) -> View:
        assert isinstance(view, Table)
        return view if self._completing is None else self._completing.apply(view)

    def state(self) -> dict[str, np.ndarray]:
        return {} if self._completing is None else self._completing.state()

    def restore(self, state: dict[str, np.ndarray]) -> None:
        if self._completing is not None:
            self._completing.restore(state)
