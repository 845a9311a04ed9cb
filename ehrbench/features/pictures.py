"""Pictures: one or several grey images a record, all of one size, perhaps in a memory map."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import Any

import numpy as np

from ehrbench.core.types import IntArray, StrArray
from ehrbench.core.views import offsets, ragged
from ehrbench.features.stored import RowStore

#: Regions that evidence speaks of: rows and columns of a grid over the image, from its upper left corner.
GRID = 4
#: Cells of a row and of a column that are covered one by one.
CELLS = 8
REGIONS = tuple(f"row {r + 1} column {c + 1}" for r in range(GRID) for c in range(GRID))


@dataclass(frozen=True, eq=False)
class Pictures:
    """N records; record n has the next ``n_images[n]`` of ``images``, which point into ``pixels``.

    store: where rows of the whole cohort are kept; ``take`` leaves it behind.
    """

    pixels: IntArray  # (K, H, W) uint8
    images: IntArray  # (V,)
    n_images: IntArray  # (N,)
    store: RowStore | None = None

    @staticmethod
    def single(pixels: IntArray) -> Pictures:
        """One image a record, in order."""
        return Pictures(pixels, np.arange(len(pixels)), np.ones(len(pixels), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.n_images)

    def take(self, index: IntArray) -> Pictures:
        """Records at ``index``, in that order; the images stay where they are."""
        at, _ = ragged(offsets(self.n_images), index)
        return Pictures(self.pixels, self.images[at], self.n_images[np.asarray(index)])

    def of(self, record: int) -> IntArray:
        """(k, H, W) the images of one record."""
        start = int(self.n_images[:record].sum())
        return np.asarray(self.pixels[self.images[start : start + int(self.n_images[record])]])

    def digests(self) -> StrArray:
        """(N,) 32 hex digits of each record's images in order."""
        found, starts = [], offsets(self.n_images)
        for start, stop in pairwise(starts):
            of_record = blake2b(f"{self.pixels.shape[1:]}".encode(), digest_size=16)
            for image in self.images[start:stop]:
                of_record.update(np.ascontiguousarray(self.pixels[image]).tobytes())
            found.append(of_record.hexdigest())
        return np.array(found, dtype="U32")

    def evidence(self) -> tuple[str, ...]:
        """Regions of the image."""
        return REGIONS

    def exchanged(self, name: str, donors: IntArray) -> tuple[IntArray, Pictures]:
        """See ``core.records.Exchangeable``: the donor's pixels stand in the region, each image's in turn."""
        rows, columns = region(REGIONS.index(name), *self.pixels.shape[1:])
        parts, index = [], []
        for n, donor in enumerate(donors):
            own, other = self.of(n), self.of(int(donor))
            given = other[np.arange(len(own)) % len(other), rows, columns]
            if not np.array_equal(own[:, rows, columns], given):
                own = own.copy()
                own[:, rows, columns] = given
                parts.append(own)
                index.append(n)
        changed = np.array(index, dtype=np.int64)
        pixels = np.concatenate([np.zeros((0, *self.pixels.shape[1:]), dtype=np.uint8), *parts])
        return changed, Pictures(pixels, np.arange(len(pixels)), self.n_images[changed])

    def layout(self) -> dict[str, Any]:
        """``kind`` pixels; parts are the cells of ``rows`` × ``columns`` of each image, image by image.

        images: width, height and grey values row by row, in base64.
        """
        height, width = self.pixels.shape[1:]
        shown = [base64.b64encode(np.ascontiguousarray(x).tobytes()).decode() for x in self.of(0)]
        images = [{"width": width, "height": height, "grey": grey} for grey in shown]
        return {"kind": "pixels", "rows": CELLS, "columns": CELLS, "images": images}

    def covered(self) -> Pictures:
        """Each cell, and half of those around it, of each image becomes the image's mean."""
        own = self.of(0)
        parts = []
        for k, image in enumerate(own):
            for cell in range(CELLS**2):
                changed = own.copy()
                rows, columns = (
                    slice(max(0, (2 * at - 1) * n // (2 * CELLS)), (2 * at + 3) * n // (2 * CELLS))
                    for at, n in zip(divmod(cell, CELLS), image.shape, strict=True)
                )
                changed[k, rows, columns] = round(float(image.mean()))
                parts.append(changed)
        pixels = np.concatenate(parts)
        return Pictures(pixels, np.arange(len(pixels)), np.full(len(parts), len(own)))


def region(number: int, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of the region ``REGIONS[number]`` in an image."""
    row, column = divmod(number, GRID)
    return (
        slice(row * height // GRID, (row + 1) * height // GRID),
        slice(column * width // GRID, (column + 1) * width // GRID),
    )
