"""Pooling: L steps to one vector. Padding (valid = 0) never counts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ehrbench.nets.inputs import shift

POOLINGS = ("last", "mean", "attention")


class Pooling(nn.Module):
    """kind: the last valid step, the mean of the valid ones, or attention with learned queries.

    Attention pooling is a set transformer's with H/heads wide queries (Lee et al. 2019, eq. 11), here
    additive: one score a step and head, softmax over the valid steps, each head pooling its own share of the
        channels.
    """

    def __init__(self, width: int, kind: str = "last", n_heads: int = 4) -> None:
        super().__init__()
        if kind not in POOLINGS:
            raise ValueError(f"pooling {kind!r} is none of {', '.join(POOLINGS)}")
        if kind == "attention" and width % n_heads:
            raise ValueError(f"width {width} is not a multiple of {n_heads} attention heads")
        self.kind, self.n_heads = kind, n_heads
        self.score = (
            nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, n_heads))
            if kind == "attention"
            else None
        )

    def forward(self, h: Tensor, valid: Tensor) -> Tensor:
        """h (B, L, H), valid (B, L), 0 for padding at either end -> (B, H)."""
        if self.kind == "last":
            return torch.einsum("bl,blh->bh", valid * (1 - shift(valid, -1)), h)
        if self.score is None:
            return torch.einsum("bl,blh->bh", valid, h) / valid.sum(1, keepdim=True).clamp(min=1)
        scores = self.score(h) - 1e4 * (1 - valid[..., None])  # (B, L, heads)
        weights = scores.softmax(dim=1)
        split = h.view(*h.shape[:2], self.n_heads, -1)  # (B, L, heads, H / heads)
        return torch.einsum("bln,blnh->bnh", weights, split).flatten(1)
