"""Recurrence: LSTM (Hochreiter & Schmidhuber 1997) or GRU layers (Cho et al. 2014) over padded sequences, in
one direction or both.

PyTorch's bidirectional layers start their backward pass in the padding unless sequences are packed, and
packed ones cannot be exported. Here the backward layers read each sequence mirrored within its own valid
steps, so what stands behind them changes nothing. The two directions run apart through all their layers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Recurrence(nn.Module):
    """x (B, L, D) -> h (B, L, width); both directions share ``width``, dropout stands between layers."""

    def __init__(
        self,
        n_inputs: int,
        width: int,
        *,
        n_layers: int,
        bidirectional: bool,
        dropout: float,
        cell: type[nn.LSTM] | type[nn.GRU] = nn.LSTM,
    ) -> None:
        super().__init__()

        def layers() -> nn.LSTM | nn.GRU:
            between = dropout if n_layers > 1 else 0.0
            return cell(n_inputs, width // (1 + bidirectional), n_layers, batch_first=True, dropout=between)

        self.ahead = layers()
        self.back = layers() if bidirectional else None

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """valid (B, L): 1 for the steps of a sequence, which come first, 0 for padding behind them."""
        h, _ = self.ahead(x)
        if self.back is None:
            return torch.as_tensor(h)
        mirror = mirrored(valid)
        back, _ = self.back(take_steps(x, mirror))
        return torch.cat([h, take_steps(back, mirror)], dim=2)


def mirrored(valid: Tensor) -> Tensor:
    """(B, L) for each place the place whose step stands there when valid steps are read backwards."""
    at = torch.arange(valid.shape[1], device=valid.device)
    back = valid.sum(1, keepdim=True).long() - 1 - at
    return torch.where(back >= 0, back, at)


def take_steps(x: Tensor, at: Tensor) -> Tensor:
    """x (B, L, D) at the steps ``at`` (B, L)."""
    return x.gather(1, at[..., None].expand(-1, -1, x.shape[2]))
