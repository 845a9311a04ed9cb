"""Batches sliced from tensors that already lie on the device: no loader, no workers, no copies."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


class Batches:
    """Iterates over a fold; each pass is another shuffle from ``seed``, or in order where seed is None.

    inputs, y: what ``Network.prepare`` gave, and labels (U, C), all with first axis U.
    """

    def __init__(self, inputs: tuple[Tensor, ...], y: Tensor, size: int, seed: int | None = None) -> None:
        self.inputs, self.y, self.size = inputs, y, size
        self.generator = None if seed is None else torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return -(-len(self.y) // self.size)

    def __iter__(self) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        if self.generator is None:
            for start in range(0, len(self.y), self.size):
                rows = slice(start, start + self.size)
                yield tuple(x[rows] for x in self.inputs), self.y[rows]
            return
        order = torch.randperm(len(self.y), generator=self.generator).to(self.y.device)
        for index in torch.split(order, self.size):
            yield tuple(x[index] for x in self.inputs), self.y[index]
