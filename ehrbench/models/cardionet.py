"""CardioNet: convolutions and gated recurrent units over whole recordings, a score a beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ehrbench.core.errors import ConfigError
from ehrbench.models.lookahead import Lookahead
from ehrbench.models.network import NetworkModel, Ports
from ehrbench.models.settings import check_integer, check_range
from ehrbench.nets.cardionet import CardioNetwork
from ehrbench.nets.inputs import SignalInput


@dataclass(kw_only=True, eq=False)
class CardioNet(NetworkModel):
    """Takes a ``Signal`` view. Settings have the names that CardioSpike's winners gave them.

    window: beats around each that are pooled, odd; channels: of each branch; rnn_units: of each direction;
        top_classifier_units: of the layers above; dropout: in them, and
        of whole channels of the convolutions.
    piece: longer recordings are trained on in pieces of about so many beats; 0: whole.
    step_ahead, alpha: of Lookahead, which goes back a share of every so many steps; alpha 1 is plain AdamW.
    """

    window: int = 17
    channels: int = 32
    rnn_units: int = 16
    top_classifier_units: int = 128
    dropout: float = 0.3
    piece: int = 64
    step_ahead: int = 6
    alpha: float = 0.5
    learning_rate: float = 0.003
    weight_decay: float = 0.05
    batch_size: int = 32
    max_epochs: int = 12

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("window", self.window, 1, 513)
        if self.window % 2 == 0:
            raise ConfigError(
                "window", f"{self.window} is even", "the beat stands in the middle: take an odd one"
            )
        check_integer("channels", self.channels, 1, 1024)
        check_integer("rnn_units", self.rnn_units, 1, 1024)
        check_integer("top_classifier_units", self.top_classifier_units, 1, 8192)
        check_range("dropout", self.dropout, 0.0, 0.9)
        check_integer("piece", self.piece, 0, 1_000_000)
        check_integer("step_ahead", self.step_ahead, 1, 1000)
        check_range("alpha", self.alpha, 0.01, 1.0)

    def network(self, ports: Ports, n_scores: int) -> CardioNetwork:
        if set(ports) != {"values", "valid"}:
            problem = f"CardioNet takes a Signal, and this view has {', '.join(ports)}"
            raise ConfigError("view", problem, "use view: signal, or another model")
        return CardioNetwork(
            SignalInput(int(ports["values"].shape[-1])),
            n_scores,
            channels=self.channels,
            rnn_units=self.rnn_units,
            top_classifier_units=self.top_classifier_units,
            window=self.window,
            dropout=self.dropout,
        )

    def optimiser(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return Lookahead(groups, lr=self.learning_rate, ahead=self.step_ahead, alpha=self.alpha)
