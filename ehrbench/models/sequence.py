"""What the models of sequences share: which inputs are fed, how scores are read off, and their settings."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from torch import nn

from ehrbench.core.errors import ConfigError
from ehrbench.models.network import NetworkModel, Ports
from ehrbench.models.settings import check_choice, check_flag, check_integer, check_multiple, check_range
from ehrbench.nets.inputs import SequenceInput, SignalInput, TokenInput
from ehrbench.nets.sequence import SequenceNetwork

#: As ``ehrbench.nets.pooling.POOLINGS``.
POOLINGS = ("last", "mean", "attention")


@dataclass(kw_only=True, eq=False)
class SequenceModel(NetworkModel):
    """width: hidden units of each layer; n_layers; dropout: before layers and in the head.

    pooling: how steps become one vector; attention_heads: of attention pooling, each takes its share of
        ``width``. A ``Signal`` view is not pooled: each of its steps has scores.
    use_mask, use_delta, use_statistics: feed missingness, hours since the last measurement, and statistics of
        each channel to the head; a ``Signal`` or ``Tokens`` view has none of these.
    piece: longer recordings of a ``Signal`` are trained on in pieces of about so many steps; 0: whole.
    """

    width: int = 64
    n_layers: int = 1
    dropout: float = 0.2
    pooling: str = "last"
    attention_heads: int = 4
    use_mask: bool = True
    use_delta: bool = True
    use_statistics: bool = True
    piece: int = 0
    weight_decay: float = 3.0
    max_epochs: int = 10
    patience: int = 4
    auxiliary_weight: float = 1.0
    stackable = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("width", self.width, 4, 4096)
        check_integer("n_layers", self.n_layers, 1, 32)
        check_range("dropout", self.dropout, 0.0, 0.9)
        check_integer("piece", self.piece, 0, 1_000_000)
        check_choice("pooling", self.pooling, POOLINGS)
        check_integer("attention_heads", self.attention_heads, 1, 64)
        if self.pooling == "attention":
            check_multiple("width", self.width, "attention_heads", self.attention_heads)
        for key in ("use_mask", "use_delta", "use_statistics"):
            check_flag(key, getattr(self, key))

    @abstractmethod
    def encoder(self, n_inputs: int, any_length: bool) -> nn.Module:
        """The untrained encoder of ``n_inputs`` numbers a step; see ``SequenceNetwork``.

        any_length: batches differ in their number of steps.
        """

    def network(self, ports: Ports, n_scores: int) -> SequenceNetwork:
        inputs = self._inputs(ports)
        return SequenceNetwork(
            inputs,
            self.encoder(inputs.width, not isinstance(inputs, SequenceInput)),
            self.width,
            n_scores,
            dropout=self.dropout,
            pooling=self.pooling,
            n_heads=self.attention_heads,
        )

    def _inputs(self, ports: Ports) -> SequenceInput | SignalInput | TokenInput:
        if set(ports) == {"ids", "mask"}:
            return TokenInput(ports["ids"].below, self.width)
        if set(ports) == {"values", "valid"}:
            return SignalInput(int(ports["values"].shape[-1]))
        if missing := {"values", "mask", "time_hours", "static"} - set(ports):
            raise ConfigError(
                "view",
                f"{type(self).__name__} takes a Sequence, a Signal or Tokens, and this view lacks "
                f"{', '.join(sorted(missing))}",
                "use view: sequence, or another model",
            )
        return SequenceInput(
            int(ports["values"].shape[-1]),
            int(ports["static"].shape[-1]),
            use_mask=self.use_mask,
            use_delta=self.use_delta,
            use_statistics=self.use_statistics,
        )
