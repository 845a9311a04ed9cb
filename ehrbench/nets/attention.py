"""Multi-head self-attention over the steps of a sequence (Vaswani et al. 2017, section 3.2)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class SelfAttention(nn.Module):
    """h (B, L, H), valid (B, L) -> (B, L, H): pre-norm, residual; padding is attended to by none."""

    def __init__(self, width: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        if width % n_heads:
            raise ValueError(f"width {width} is not a multiple of {n_heads} attention heads")
        self.n_heads = n_heads
        self.norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, valid: Tensor) -> Tensor:
        batch, length, width = h.shape
        packed = self.query_key_value(self.norm(h)).view(batch, length, 3, self.n_heads, -1)
        q, k, v = packed.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, L, H / heads)
        bias = -1e4 * (1 - valid[:, None, None, :])  # finite: a row of padding alone stays finite, too
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q))
        mixed: Tensor = self.out(attended.transpose(1, 2).reshape(batch, length, width))
        out: Tensor = h + self.dropout(mixed)
        return out
