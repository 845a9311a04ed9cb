"""TextCNN: convolutions of several widths over embedded tokens, each kept where it answers most.

Kim 2014, "Convolutional neural networks for sentence classification": what a filter finds counts once,
wherever in the text it stands.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ehrbench.nets.embedding import Embedding
from ehrbench.nets.network import Network


class TextCNNNetwork(Network):
    """width: of the embedding; channels: filters of each of the ``widths`` in tokens."""

    def __init__(
        self,
        n_tokens: int,
        n_scores: int,
        *,
        width: int,
        channels: int,
        widths: Sequence[int],
        dropout: float,
    ) -> None:
        super().__init__()
        self.embedding = Embedding(n_tokens, width)
        self.widths = tuple(widths)
        self.filters = nn.ModuleList(nn.Conv1d(width, channels, size) for size in self.widths)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(channels * len(self.widths), n_scores)

    def prepare(self, **arrays: Tensor) -> tuple[Tensor, ...]:
        return arrays["ids"], arrays["mask"]

    def score(self, *prepared: Tensor) -> Tensor:
        ids, valid = prepared
        h = self.dropout(self.embedding(ids, valid)).transpose(1, 2)  # (B, E, L)
        found = []
        for size, filters in zip(self.widths, self.filters, strict=True):
            around = F.pad(h, ((size - 1) // 2, size // 2))
            # not below 0, so that padding, set to 0, is never the greatest but where all are
            found.append((filters(around).relu() * valid[:, None]).amax(dim=2))  # (B, channels)
        scores: Tensor = self.out(self.dropout(torch.cat(found, dim=1)))
        return scores
