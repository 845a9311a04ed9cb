"""Embedding: token ids to vectors that are learned; padding to zeros."""

from __future__ import annotations

from torch import Tensor, nn


class Embedding(nn.Module):
    """ids, valid (B, L) -> (B, L, width)."""

    def __init__(self, n_tokens: int, width: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(max(n_tokens, 2), width)
        nn.init.normal_(self.vectors.weight, std=0.1)

    def forward(self, ids: Tensor, valid: Tensor) -> Tensor:
        h: Tensor = self.vectors(ids) * valid[..., None]
        return h
