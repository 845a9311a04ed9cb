"""LSTM: a (bi)directional long short-term memory network on a regular grid, with masks and times."""

from __future__ import annotations

from dataclasses import dataclass

from ehrbench.models.sequence import SequenceModel
from ehrbench.models.settings import check_flag, check_multiple
from ehrbench.nets.lstm import LSTMEncoder


@dataclass(kw_only=True, eq=False)
class LSTM(SequenceModel):
    """bidirectional: both directions, width / 2 each. The rest: ``SequenceModel``, ``TrainingSettings``."""

    bidirectional: bool = False
    learning_rate: float = 0.002

    def __post_init__(self) -> None:
        super().__post_init__()
        check_flag("bidirectional", self.bidirectional)
        check_multiple("width", self.width, "the number of directions", 1 + self.bidirectional)

    def encoder(self, n_inputs: int, any_length: bool) -> LSTMEncoder:
        return LSTMEncoder(
            n_inputs,
            self.width,
            n_layers=self.n_layers,
            bidirectional=self.bidirectional,
            dropout=self.dropout,
        )
