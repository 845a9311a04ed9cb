"""Averaged network: the mean of several networks' scores, of which each was trained by a seed of its own.

Scores are averaged and not probabilities, so that it is one network like any other: exported, explained and
gathered from steps or images to units in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ehrbench.nets.network import Network


class AveragedNetwork(Network):
    """``nets`` prepare alike."""

    def __init__(self, nets: Sequence[Network]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def prepare(self, **arrays: Tensor) -> tuple[Tensor, ...]:
        first = self.nets[0]
        assert isinstance(first, Network)
        return first.prepare(**arrays)

    def score(self, *prepared: Tensor) -> Tensor:
        scores = [net.score(*prepared) for net in self.nets]  # type: ignore[operator]
        return torch.stack(scores).mean(0)
