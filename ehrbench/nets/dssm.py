"""Deep state-space model with LSTM integration.

An LSTM reads values, masks and times since the last measurement; multi-head self-attention relates its steps;
a latent state follows a linear transition driven by what was attended to, and its nonlinear emission is
pooled; a branch for static descriptors stands beside it. After the deep state-space networks for ICU
mortality whose state is the last step's linear map and tanh; here the transition is a real state-space one
(Rangapuram et al. 2018, "Deep state space models", eq. 1-2, with the diagonal transition of S4D), so the
state has a memory of its own, and neither masks nor times are left out.
"""

from __future__ import annotations

from torch import Tensor, nn

from ehrbench.nets.attention import SelfAttention
from ehrbench.nets.head import Head
from ehrbench.nets.inputs import SequenceInput
from ehrbench.nets.lstm import lstm_encoder
from ehrbench.nets.network import Network
from ehrbench.nets.pooling import Pooling
from ehrbench.nets.ssm import DiagonalSSM


class LatentTransition(nn.Module):
    """h (B, L, H) -> emissions (B, L, H).

    x_k = Λ̄ x_{k-1} + B̄ h_k is the latent state (``DiagonalSSM``); z_k = tanh(W (2 Re(C x_k) + D h_k)) its
    emission, added to h.
    """

    def __init__(self, width: int, n_pairs: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.transition = DiagonalSSM(width, n_pairs)
        self.emission = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Dropout(dropout))

    def forward(self, h: Tensor) -> Tensor:
        out: Tensor = h + self.emission(self.transition(self.norm(h)))
        return out


class DSSMNetwork(Network):
    """F channels and S descriptors -> C scores; ``n_pairs`` conjugate pairs of latent states."""

    def __init__(
        self,
        n_channels: int,
        n_static: int,
        n_classes: int,
        *,
        width: int = 64,
        n_layers: int = 1,
        bidirectional: bool = False,
        n_pairs: int = 16,
        dropout: float = 0.2,
        pooling: str = "last",
        n_heads: int = 4,
        inputs: dict[str, bool] | None = None,
    ) -> None:
        super().__init__()
        self.inputs = SequenceInput(n_channels, n_static, **(inputs or {}))
        self.dropout = nn.Dropout(dropout)
        self.encoder = lstm_encoder(
            self.inputs.width, width, n_layers=n_layers, bidirectional=bidirectional, dropout=dropout
        )
        self.attention = SelfAttention(width, n_heads, dropout)
        self.transition = LatentTransition(width, n_pairs, dropout)
        self.pooling = Pooling(width, pooling, n_heads)
        self.head = Head(width, self.inputs.n_wide, width, n_classes, dropout)

    def prepare(self, **arrays: Tensor) -> tuple[Tensor, ...]:
        steps, _, valid, wide = self.inputs(**arrays)
        return steps, valid, wide

    def score(self, *prepared: Tensor) -> Tensor:
        steps, valid, wide = prepared
        h, _ = self.encoder(self.dropout(steps))  # (B, L, H)
        h = self.transition(self.attention(h, valid))
        scores: Tensor = self.head(self.pooling(h, valid), wide)
        return scores
