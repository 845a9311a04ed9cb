"""Masks: dropout of networks that train together, each member's own, whoever is beside it.

``torch.func.vmap`` would draw for all members at once, so that what one gets would depend on its company.
Here masks are made first and handed to the network's dropout in the order in which it asks. On a CPU they are
what a network alone would draw from torch's generator, to the bit. On a GPU, where a step is a captured graph
that holds no generator, they are a hash of the member's seed, its step and the place (a counter-based
generator, Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

#: Shape of what is dropped out, and the share that is dropped.
Site = tuple[tuple[int, ...], float]
#: Answers with the sites of a network in training for so many rows.
Sites = Callable[[int], list[Site]]
_WORD = 0xFFFFFFFF


class Recorded(TorchFunctionMode):
    """Inside, nothing is dropped out; ``sites`` grows."""

    def __init__(self) -> None:
        super().__init__()
        self.sites: list[Site] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not F.dropout:
            return func(*args, **(kwargs or {}))
        x, p, training = _asked(*args, **(kwargs or {}))
        if training and p:
            self.sites.append((tuple(x.shape), p))
        return x


class Given(TorchFunctionMode):
    """Inside, dropout multiplies by the next of ``masks``."""

    def __init__(self, masks: Sequence[Tensor]) -> None:
        super().__init__()
        self.masks = iter(masks)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not F.dropout:
            return func(*args, **(kwargs or {}))
        x, p, training = _asked(*args, **(kwargs or {}))
        return x * next(self.masks).to(x.dtype) if training and p else x


def _asked(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """The arguments of ``F.dropout``."""
    return x, p, training


class Masks(ABC):
    """Of M members; ``prepare`` comes before each step, ``all`` within it."""

    @abstractmethod
    def prepare(self, taken: Sequence[int], rows: Sequence[int]) -> None:
        """taken: steps of each member until now; rows: of its batch, 0 where it rests."""

    @abstractmethod
    def all(self) -> list[Tensor]:
        """(M, B, ...) for each site: 0, or 1 / (1 - p)."""

    @abstractmethod
    def keep(self, members: Sequence[int]) -> None:
        """Of these members from now on."""


class DrawnMasks(Masks):
    """From a generator each, as a network alone draws; of a smaller batch only its own rows."""

    def __init__(self, sites: Sites, states: Sequence[Tensor], items: int, like: Tensor) -> None:
        self._sites, self._items, self._like = sites, items, like
        self._generators = [torch.Generator().set_state(state) for state in states]
        self._current: list[Tensor] = []

    def prepare(self, taken: Sequence[int], rows: Sequence[int]) -> None:
        n_members = len(self._generators)
        whole = self._sites(self._items)
        self._current = [self._like.new_zeros(n_members, *shape) for shape, _ in whole]
        for member, (generator, n) in enumerate(zip(self._generators, rows, strict=True)):
            if not n:
                continue
            for at, (shape, p) in enumerate(self._sites(n)):
                noise = self._like.new_empty(shape).bernoulli_(1 - p, generator=generator).div_(1 - p)
                self._current[at][member][tuple(map(slice, shape))] = noise

    def all(self) -> list[Tensor]:
        return self._current

    def keep(self, members: Sequence[int]) -> None:
        self._generators = [self._generators[i] for i in members]


class HashedMasks(Masks):
    """Of 24 bits a place."""

    def __init__(self, sites: Sites, seeds: Sequence[int], items: int, like: Tensor) -> None:
        self._seeds, self._like = list(seeds), like
        self._sites = sites(items)
        self._sizes = [torch.Size(shape).numel() for shape, _ in self._sites]
        self._place = _hashed(torch.arange(sum(self._sizes), device=like.device))  # (K,)
        self._keys = torch.zeros(len(seeds), 1, dtype=torch.int64, device=like.device)

    def prepare(self, taken: Sequence[int], rows: Sequence[int]) -> None:
        keys = [
            [_hash_of(_hash_of(seed) + step & _WORD)] for seed, step in zip(self._seeds, taken, strict=True)
        ]
        self._keys.copy_(torch.tensor(keys))

    def all(self) -> list[Tensor]:
        if not self._sites:
            return []
        share = (_hashed((self._place + self._keys) & _WORD) >> 8).to(torch.float32) * 2**-24  # (M, K)
        return [
            (part >= p).to(self._like.dtype).view(-1, *shape) / (1 - p)
            for part, (shape, p) in zip(torch.split(share, self._sizes, dim=1), self._sites, strict=True)
        ]

    def keep(self, members: Sequence[int]) -> None:
        self._seeds = [self._seeds[i] for i in members]
        self._keys = self._keys[: len(members)].clone()


def _hashed(x: Tensor) -> Tensor:
    """Each number of 32 bits to another (lowbias32, Wellons 2018); in 64, so that no product overflows."""
    x = (x ^ (x >> 16)) * 0x7FEB352D & _WORD
    x = (x ^ (x >> 15)) * (0x846CA68B - (1 << 32)) & _WORD
    return x ^ (x >> 16)


def _hash_of(x: int) -> int:
    return int(_hashed(torch.tensor(x & _WORD)))
