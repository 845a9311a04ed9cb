"""Multi-layer perceptron for tables, with numeric embeddings and residual blocks as options.

Embeddings "PLR" after Gorishniy et al. 2022, "On embeddings for numerical features in tabular deep learning",
eq. 2 (periodic, then linear, then ReLU, parameters of each column its own); residual blocks after Gorishniy
et al. 2021, "Revisiting deep learning models for tabular data", section 3.2.
A missing value (NaN) becomes 0, and a column that says so is appended.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ehrbench.nets.network import Network

EMBEDDINGS = ("none", "periodic")
BLOCKS = ("plain", "residual")


class PeriodicEmbedding(nn.Module):
    """x (B, F) -> (B, F * size): ReLU(W [cos(2π c x), sin(2π c x)] + b); each column has its c, W and b."""

    def __init__(self, n_columns: int, size: int, n_frequencies: int = 8, scale: float = 0.3) -> None:
        super().__init__()
        self.frequency = nn.Parameter(torch.randn(n_columns, n_frequencies) * scale)
        bound = 1 / math.sqrt(2 * n_frequencies)
        self.weight = nn.Parameter(torch.empty(n_columns, 2 * n_frequencies, size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(n_columns, size).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        angle = 2 * math.pi * self.frequency * x[..., None]  # (B, F, K)
        waves = torch.cat([angle.cos(), angle.sin()], dim=2)
        mixed = torch.bmm(waves.transpose(0, 1), self.weight).transpose(0, 1) + self.bias  # (B, F, size)
        return mixed.relu().flatten(1)


class Residual(nn.Module):
    """h + dropout(W2 dropout(ReLU(W1 norm(h))))."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, h: Tensor) -> Tensor:
        out: Tensor = h + self.body(h)
        return out


class MLPNetwork(Network):
    """F columns -> C scores; ``embedding_size`` numbers a column where ``embedding`` is periodic."""

    def __init__(
        self,
        n_columns: int,
        n_classes: int,
        *,
        width: int = 256,
        n_layers: int = 2,
        block: str = "plain",
        embedding: str = "none",
        embedding_size: int = 8,
        dropout: float = 0.3,
        input_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding = PeriodicEmbedding(n_columns, embedding_size) if embedding == "periodic" else None
        n_inputs = n_columns * (2 if self.embedding is None else 1 + embedding_size)
        layers: list[nn.Module] = [nn.Dropout(input_dropout), nn.Linear(n_inputs, width)]
        if block == "residual":
            layers += [Residual(width, dropout) for _ in range(n_layers)]
        else:
            layers += [nn.ReLU(), nn.Dropout(dropout)]
            for _ in range(n_layers - 1):
                layers += [nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout)]
        self.body = nn.Sequential(*layers, nn.LayerNorm(width), nn.Linear(width, n_classes))

    def prepare(self, **arrays: Tensor) -> tuple[Tensor, ...]:
        values = arrays["values"]
        missing = values.isnan()
        return torch.where(missing, torch.zeros_like(values), values), missing.to(values)

    def score(self, *prepared: Tensor) -> Tensor:
        values, missing = prepared
        x = values if self.embedding is None else self.embedding(values)
        scores: Tensor = self.body(torch.cat([x, missing], dim=1))
        return scores
