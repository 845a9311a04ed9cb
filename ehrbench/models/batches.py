"""Batches of a view on the device that trains: no loader, no workers.

A view whose items are alike and fit (``RESIDENT`` bytes) is prepared once and lies on the device; batches are
slices of it. Any other (recordings and texts of every length, images from a memory map) is taken, padded and
prepared batch by batch. Either way a batch holds the same numbers. Where nothing is learned, items go by
their length, so that little of a batch is padding.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ehrbench.core.types import FloatArray, IntArray
from ehrbench.core.views import View, offsets, ragged
from ehrbench.nets.gathering import gathered
from ehrbench.nets.network import Network

#: Items, and cells with their padding, of one pass without gradients.
PASS_ITEMS, PASS_CELLS = 1024, 1 << 16
#: Largest view that is prepared whole.
RESIDENT = 1 << 29


class Batch(NamedTuple):
    """inputs: what ``Network.prepare`` gave (R, …); y: labels (U, C); the rest: ``core.views.Gathering``."""

    inputs: tuple[Tensor, ...]
    y: Tensor
    position: Tensor | None = None
    unit: Tensor | None = None

    def scores(self, net: Network) -> Tensor:
        """(U, C)."""
        scores = net.score(*self.inputs)
        if self.position is None:
            return scores
        return gathered(scores, self.position, self.unit, len(self.y))


class Batches:
    """Iterates over a fold; each pass is another shuffle from ``seed``, or in order where seed is None.

    y: labels (U, C) of the view's units. items: of a training batch. piece: steps, see ``View.pieces``; each
    pass of training cuts elsewhere. 0: items as they are.
    """

    def __init__(
        self,
        net: Network,
        view: View,
        y: FloatArray,
        items: int,
        device: torch.device,
        seed: int | None = None,
        piece: int = 0,
    ) -> None:
        self.net, self.view, self.items, self.device, self.piece = net, view, items, device, piece
        if seed is None:
            self.view, units, _ = by_length(view)
            y = y[units]
        self.y = torch.from_numpy(np.asarray(y, dtype=np.float32)).to(device)
        self.generator = None if seed is None else torch.Generator().manual_seed(seed)
        self.inputs = prepared(net, view, device) if resident(view) else None

    def shuffled_by(self, seed: int) -> Batches:
        """The same items, without a copy, in the order of another seed."""
        other = copy.copy(self)
        other.generator = torch.Generator().manual_seed(seed)
        return other

    def __len__(self) -> int:
        """Batches of a training pass."""
        return -(-len(self._cut(0.0)) // self.items)

    def __iter__(self) -> Iterator[Batch]:
        if self.generator is not None:
            view = self._cut(float(torch.rand((), generator=self.generator))) if self.piece else self.view
            starts = _unit_starts(view)
            for index in self._shuffled(len(view)):
                yield self._at(view, starts, index.to(self.device) if self.inputs else index)
        elif self.inputs:
            for start in range(0, len(self.view), PASS_ITEMS):
                rows = slice(start, start + PASS_ITEMS)
                yield Batch(tuple(x[rows] for x in self.inputs), self.y[rows])
        else:
            first, starts = 0, _unit_starts(self.view)
            for part in self.view.batches(PASS_ITEMS, PASS_CELLS):
                yield self._lazy(part, starts, np.arange(first, first + len(part)))
                first += len(part)

    def order(self) -> tuple[Tensor, ...]:
        """Items of each batch of the next pass of training, of a view that lies on the device."""
        return self._shuffled(len(self.view))

    def _shuffled(self, n: int) -> tuple[Tensor, ...]:
        assert self.generator is not None
        return torch.split(torch.randperm(n, generator=self.generator), self.items)

    def _cut(self, shift: float) -> View:
        return self.view.pieces(self.piece, shift) if self.piece else self.view

    def _at(self, view: View, starts: IntArray | None, index: Tensor) -> Batch:
        if self.inputs:
            return Batch(tuple(x[index] for x in self.inputs), self.y[index])
        items = index.numpy()
        return self._lazy(view.take(items), starts, items)

    def _lazy(self, part: View, starts: IntArray | None, items: IntArray) -> Batch:
        units = items if starts is None else ragged(starts, items)[0]
        return batch(self.net, part, self.y[torch.from_numpy(units).to(self.device)], self.device)


def by_length(view: View) -> tuple[View, IntArray, IntArray]:
    """Items from the shortest to the longest, the units (U,) in that order, and the way back (U,)."""
    extents, starts = view.extents(), _unit_starts(view)
    order = np.arange(len(view)) if extents is None else np.argsort(extents, kind="stable")
    units = order if starts is None else ragged(starts, order)[0]
    return view if extents is None else view.take(order), units, np.argsort(units, kind="stable")


def _unit_starts(view: View) -> IntArray | None:
    counts = view.unit_counts()
    return None if counts is None else offsets(counts)


def batch(net: Network, view: View, y: Tensor, device: torch.device) -> Batch:
    """All of a small view as one batch."""
    with torch.no_grad():
        inputs = _inputs(net, view, device)
    gathering = view.gathering()
    if gathering is None:
        return Batch(inputs, y)
    unit = None if gathering.unit is None else torch.from_numpy(gathering.unit).to(device)
    return Batch(inputs, y, torch.from_numpy(gathering.position).to(device), unit)


def resident(view: View) -> bool:
    """Whether the view may lie on the device whole."""
    if view.extents() is not None or view.gathering() is not None:
        return False
    cells = sum(
        np.dtype(port.dtype).itemsize * int(np.prod([int(n) for n in port.shape]))
        for port in view.ports().values()
    )
    return len(view) * cells <= RESIDENT


@torch.no_grad()
def prepared(net: Network, view: View, device: torch.device) -> tuple[Tensor, ...]:
    """What ``Network.prepare`` gives for the whole view."""
    parts = []
    for part in view.batches(PASS_ITEMS, PASS_CELLS):
        parts.append(_inputs(net, part, device))
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


def _inputs(net: Network, view: View, device: torch.device) -> tuple[Tensor, ...]:
    """Prepared arrays, in double precision where the network is."""
    inputs = net.prepare(**{name: tensor(a).to(device) for name, a in view.arrays().items()})
    double = any(p.dtype == torch.float64 for p in net.parameters())
    return tuple(x.double() if double and x.is_floating_point() else x for x in inputs)


def tensor(array: np.ndarray) -> Tensor:
    """Shares memory where it may be written to; a read-only array (a memory map, a broadcast) is copied."""
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))
