"""Vision transformer (Dosovitskiy et al. 2021) of any size; instead of attention, state-space layers may mix.

An image is cut into square patches, each a token at a learned place. Attention layers see all patches at
once; state-space layers read them row by row, in both directions, and are linear in their number. Tokens are
averaged, as without a class token nothing is lost on small data (Beyer et al. 2022, "Better plain ViT
baselines").
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ehrbench.nets.ssm import SSMBlock

MIXERS = ("attention", "ssm")


class AttentionBlock(nn.Module):
    """Norm, self-attention, residual; norm, two-layer perceptron, residual."""

    def __init__(self, width: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )

    def forward(self, h: Tensor) -> Tensor:
        batch, length, width = h.shape
        qkv = self.qkv(self.norm1(h)).view(batch, length, 3, self.n_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, L, width / heads)
        seen = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        h = h + self.dropout(self.out(seen.reshape(batch, length, width)))
        out: Tensor = h + self.dropout(self.mlp(self.norm2(h)))
        return out


class VisionTransformer(nn.Module):
    """x (B, n_channels, H, W) -> features (B, width, H / patch, W / patch)."""

    def __init__(
        self,
        n_channels: int,
        height: int,
        breadth: int,
        *,
        patch: int,
        width: int,
        n_layers: int,
        n_heads: int,
        n_pairs: int,
        mixer: str,
        dropout: float,
    ) -> None:
        super().__init__()
        self.rows, self.columns = height // patch, breadth // patch
        self.patches = nn.Conv2d(n_channels, width, patch, patch)
        self.place = nn.Parameter(torch.randn(1, self.rows * self.columns, width) * 0.02)
        self.blocks = nn.ModuleList(
            AttentionBlock(width, n_heads, dropout)
            if mixer == "attention"
            else SSMBlock(width, n_pairs, dropout, bidirectional=True)
            for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.n_features = width

    def forward(self, x: Tensor) -> Tensor:
        h = self.patches(x).flatten(2).transpose(1, 2) + self.place  # (B, L, width)
        valid = h.new_ones(h.shape[:2])
        for block in self.blocks:
            h = block(h, None, valid) if isinstance(block, SSMBlock) else block(h)
        shape = h.shape[0], self.n_features, self.rows, self.columns
        found: Tensor = self.norm(h).transpose(1, 2).reshape(shape)
        return found
