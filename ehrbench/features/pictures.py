"""Pictures: one or several grey images a record, all of one size, perhaps in a memory map."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import Any

import numpy as np

from ehrbench.core.records import Piece
from ehrbench.core.types import IntArray, StrArray
from ehrbench.core.views import offsets, ragged
from ehrbench.features.stored import RowStore

#: Regions that evidence speaks of: rows and columns of a grid over the image, from its upper left corner.
GRID = 4
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

    def likenesses(self) -> np.ndarray:
        """See ``core.records.Likened``: where images grow brighter to the right, in 8 by 8 places (dHash)."""
        height, width = (
            side - side % parts for side, parts in zip(self.pixels.shape[1:], (8, 9), strict=True)
        )
        found = np.zeros((len(self), 1), dtype=np.uint64)
        for n in range(len(self) if height and width else 0):
            small = (
                self.of(n)[:, :height, :width].reshape(-1, 8, height // 8, 9, width // 9).mean(axis=(2, 4))
            )
            brighter = np.diff(small, axis=2) > 0
            if brighter.any():
                found[n] = int.from_bytes(
                    blake2b(np.packbits(brighter).tobytes(), digest_size=8).digest(), "little"
                )
        return found

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

    def shown(self) -> dict[str, Any]:
        """``images``, each with width, height and its grey values row by row in base64."""
        height, width = self.pixels.shape[1:]
        greys = [base64.b64encode(np.ascontiguousarray(image).tobytes()).decode() for image in self.of(0)]
        return {"images": [{"width": width, "height": height, "grey": grey} for grey in greys]}

    def pieces(self, most: int, within: Piece | None = None) -> list[Piece]:
        """Cells of a grid over each image of the one record, or over one of these; (image, top, left, bottom,
        right) in pixels."""
        height, width = self.pixels.shape[1:]
        areas = [(k, 0, 0, height, width) for k in range(len(self.of(0)))]
        if within is not None:
            areas = [(within[0], within[1], within[2], within[3], within[4])]
        found: list[Piece] = []
        for image, top, left, bottom, right in areas:
            side = max(1, min(math.isqrt(most // len(areas)), bottom - top, right - left))
            rows = np.linspace(top, bottom, side + 1).astype(int).tolist()
            columns = np.linspace(left, right, side + 1).astype(int).tolist()
            found += [(image, a, c, b, d) for a, b in pairwise(rows) for c, d in pairwise(columns)]
        return found

    def without(self, pieces: Sequence[Piece]) -> Pictures:
        """The one record once for each piece, in whose place stands the mean of what lies around it."""
        own = self.of(0)
        changed = np.repeat(own[None], len(pieces), axis=0)  # (P, k, H, W)
        for p, (k, top, left, bottom, right) in enumerate(pieces):
            ring = max(2, (bottom - top) // 2)
            around = own[k, max(0, top - ring) : bottom + ring, max(0, left - ring) : right + ring]
            inner = own[k, top:bottom, left:right]
            outside = float(around.sum()) - float(inner.sum())
            changed[p, k, top:bottom, left:right] = round(outside / max(1, around.size - inner.size))
        pixels = changed.reshape(-1, *own.shape[1:])
        return Pictures(pixels, np.arange(len(pixels)), np.full(len(pieces), len(own)))


def region(number: int, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of the region ``REGIONS[number]`` in an image."""
    row, column = divmod(number, GRID)
    return (
        slice(row * height // GRID, (row + 1) * height // GRID),
        slice(column * width // GRID, (column + 1) * width // GRID),
    )
