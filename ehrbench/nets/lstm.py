"""Long short-term memory encoder (Hochreiter & Schmidhuber 1997)."""

from __future__ import annotations

from torch import Tensor, nn

from ehrbench.nets.recurrence import Recurrence


class LSTMEncoder(nn.Module):
    """(B, L, n_inputs) -> (B, L, width); ``width`` hidden units, shared between the two directions."""

    def __init__(
        self, n_inputs: int, width: int, *, n_layers: int, bidirectional: bool, dropout: float
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.lstm = Recurrence(
            n_inputs, width, n_layers=n_layers, bidirectional=bidirectional, dropout=dropout
        )

    def forward(self, steps: Tensor, dt_hours: Tensor, valid: Tensor) -> Tensor:
        h: Tensor = self.lstm(self.dropout(steps), valid)
        return h
