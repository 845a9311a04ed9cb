"""Recurrence: LSTM (Hochreiter & Schmidhuber 1997) or GRU layers (Cho et al. 2014) over padded sequences, in
one direction or both.

PyTorch's bidirectional layers start their backward pass in the padding unless sequences are packed, and
packed ones cannot be exported. Here the backward layers read each sequence mirrored within its own valid
steps, so what stands behind them changes nothing. The two directions run apart through all their layers.

Fused layers (cuDNN, oneDNN) know no leading axis of networks, and ``torch.func.vmap`` has no rule for them.
Inside ``stepwise`` LSTM layers are therefore written out, step by step, in products that it has rules for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_written_out: ContextVar[bool] = ContextVar("written_out", default=False)


@contextmanager
def stepwise() -> Iterator[None]:
    """Inside, LSTM layers are computed step by step, for networks that are stacked."""
    token = _written_out.set(True)
    try:
        yield
    finally:
        _written_out.reset(token)


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
        h = _read(self.ahead, x)
        if self.back is None:
            return h
        mirror = mirrored(valid)
        back = _read(self.back, take_steps(x, mirror))
        return torch.cat([h, take_steps(back, mirror)], dim=2)


def _read(layers: nn.LSTM | nn.GRU, x: Tensor) -> Tensor:
    """x (B, L, D) -> h (B, L, H) of the last layer."""
    if not _written_out.get():
        return torch.as_tensor(layers(x)[0])
    assert isinstance(layers, nn.LSTM)
    for layer in range(layers.num_layers):
        x = _layer(x, *(getattr(layers, f"{name}_l{layer}") for name in _WEIGHTS))
        if layer + 1 < layers.num_layers:  # as fused layers drop out: steps first
            x = F.dropout(x.transpose(0, 1), layers.dropout, layers.training).transpose(0, 1)
    return x


_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _layer(x: Tensor, w_x: Tensor, w_h: Tensor, b_x: Tensor, b_h: Tensor) -> Tensor:
    """One LSTM layer: x (B, L, D), weights (4H, D) and (4H, H), gates in torch's order -> (B, L, H)."""
    given = F.linear(x, w_x, b_x + b_h)  # (B, L, 4H), of all steps at once
    h = c = given.new_zeros(given.shape[0], w_h.shape[1])
    found = []
    for step in given.unbind(1):
        i, f, g, o = (step + h @ w_h.T).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        found.append(h)
    return torch.stack(found, 1)


def mirrored(valid: Tensor) -> Tensor:
    """(B, L) for each place the place whose step stands there when valid steps are read backwards."""
    at = torch.arange(valid.shape[1], device=valid.device)
    back = valid.sum(1, keepdim=True).long() - 1 - at
    return torch.where(back >= 0, back, at)


def take_steps(x: Tensor, at: Tensor) -> Tensor:
    """x (B, L, D) at the steps ``at`` (B, L)."""
    return x.gather(1, at[..., None].expand(-1, -1, x.shape[2]))
