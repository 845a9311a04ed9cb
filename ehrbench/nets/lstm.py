"""Long short-term memory network (Hochreiter & Schmidhuber 1997) with pooling and a wide head."""

from __future__ import annotations

from torch import Tensor, nn

from ehrbench.nets.head import Head
from ehrbench.nets.inputs import SequenceInput
from ehrbench.nets.network import Network
from ehrbench.nets.pooling import Pooling


def lstm_encoder(n_inputs: int, width: int, *, n_layers: int, bidirectional: bool, dropout: float) -> nn.LSTM:
    """(B, L, n_inputs) -> (B, L, width); both directions share ``width``, dropout stands between layers."""
    return nn.LSTM(
        n_inputs,
        width // (1 + bidirectional),
        n_layers,
        batch_first=True,
        bidirectional=bidirectional,
        dropout=dropout if n_layers > 1 else 0.0,
    )


class LSTMNetwork(Network):
    """F channels and S descriptors -> C scores; ``width`` hidden units, shared between the two directions."""

    def __init__(
        self,
        n_channels: int,
        n_static: int,
        n_classes: int,
        *,
        width: int = 64,
        n_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.2,
        pooling: str = "last",
        n_heads: int = 4,
        inputs: dict[str, bool] | None = None,
    ) -> None:
        super().__init__()
        self.inputs = SequenceInput(n_channels, n_static, **(inputs or {}))
        self.dropout = nn.Dropout(dropout)
        self.lstm = lstm_encoder(
            self.inputs.width, width, n_layers=n_layers, bidirectional=bidirectional, dropout=dropout
        )
        self.pooling = Pooling(width, pooling, n_heads)
        self.head = Head(width, self.inputs.n_wide, width, n_classes, dropout)

    def prepare(self, **arrays: Tensor) -> tuple[Tensor, ...]:
        steps, _, valid, wide = self.inputs(**arrays)
        return steps, valid, wide

    def score(self, *prepared: Tensor) -> Tensor:
        steps, valid, wide = prepared
        h, _ = self.lstm(self.dropout(steps))  # (B, L, H)
        scores: Tensor = self.head(self.pooling(h, valid), wide)
        return scores
