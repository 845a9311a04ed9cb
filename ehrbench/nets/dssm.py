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
from ehrbench.nets.lstm import LSTMEncoder
from ehrbench.nets.ssm import DiagonalSSM


class LatentTransition(nn.Module):
    """h (B, L, H) -> emissions (B, L, H).

    x_k = Λ̄ x_{k-1} + B̄ h_k is the latent state (``DiagonalSSM``); z_k = tanh(W (2 Re(C x_k) + D h_k)) its
    emission, added to h.
    """

    def __init__(self, width: int, n_pairs: int, dropout: float, any_length: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.transition = DiagonalSSM(width, n_pairs, any_length=any_length)
        self.emission = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Dropout(dropout))

    def forward(self, h: Tensor) -> Tensor:
        out: Tensor = h + self.emission(self.transition(self.norm(h)))
        return out


class DSSMEncoder(nn.Module):
    """(B, L, n_inputs) -> (B, L, width); ``n_pairs`` conjugate pairs of latent states."""

    def __init__(
        self,
        n_inputs: int,
        width: int,
        *,
        n_layers: int,
        bidirectional: bool,
        n_pairs: int,
        n_heads: int,
        dropout: float,
        any_length: bool = False,
    ) -> None:
        super().__init__()
        self.lstm = LSTMEncoder(
            n_inputs, width, n_layers=n_layers, bidirectional=bidirectional, dropout=dropout
        )
        self.attention = SelfAttention(width, n_heads, dropout)
        self.transition = LatentTransition(width, n_pairs, dropout, any_length)

    def forward(self, steps: Tensor, dt_hours: Tensor, valid: Tensor) -> Tensor:
        h: Tensor = self.transition(self.attention(self.lstm(steps, dt_hours, valid), valid))
        return h
