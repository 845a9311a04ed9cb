"""Head: pooled sequence and wide inputs (descriptors, statistics) to scores.

Wide and deep (Cheng et al. 2016): statistics of the channels carry most of the signal in intensive care data,
so the head sees them beside what the sequence layers found.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Head(nn.Module):
    """pooled (…, H) -> scores (…, C), with wide (B, W) beside pooled (B, H) where there is any.

    width: hidden units of the wide branch.
    """

    def __init__(self, n_pooled: int, n_wide: int, width: int, n_classes: int, dropout: float) -> None:
        super().__init__()
        self.wide = (
            nn.Sequential(
                nn.Dropout(dropout),
                nn.Linear(n_wide, width),
                nn.GELU(),
                nn.Dropout(dropout),
                nn.Linear(width, width),
                nn.GELU(),
            )
            if n_wide
            else None
        )
        self.pooled = nn.Sequential(nn.LayerNorm(n_pooled), nn.Dropout(dropout))
        self.out = nn.Linear(n_pooled + width * (n_wide > 0), n_classes)

    def forward(self, pooled: Tensor, wide: Tensor | None = None) -> Tensor:
        h = self.pooled(pooled)
        if self.wide is not None and wide is not None:
            h = torch.cat([h, self.wide(wide)], dim=1)
        scores: Tensor = self.out(h)
        return scores
