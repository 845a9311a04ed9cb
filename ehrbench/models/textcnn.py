"""TextCNN: convolutions over embedded tokens (Kim 2014)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ehrbench.core.errors import ConfigError
from ehrbench.models.network import NetworkModel, Ports
from ehrbench.models.settings import check_integer, check_range
from ehrbench.nets.textcnn import TextCNNNetwork


@dataclass(kw_only=True, eq=False)
class TextCNN(NetworkModel):
    """width: of the embedding; channels: filters of each width; narrowest, widest: of these, in tokens.

    dropout: of embeddings and of what the filters found. The rest: ``TrainingSettings``.
    """

    width: int = 64
    channels: int = 128
    narrowest: int = 1
    widest: int = 3
    dropout: float = 0.3
    learning_rate: float = 0.003
    batch_size: int = 32
    max_epochs: int = 25
    patience: int = 3
    warmup_epochs: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("width", self.width, 4, 4096)
        check_integer("channels", self.channels, 1, 4096)
        check_integer("narrowest", self.narrowest, 1, 32)
        check_integer("widest", self.widest, 1, 32)
        if self.widest < self.narrowest:
            raise ConfigError("widest", f"{self.widest} is below narrowest ({self.narrowest})", "raise it")
        check_range("dropout", self.dropout, 0.0, 0.9)

    @property
    def widths(self) -> Sequence[int]:
        return range(self.narrowest, self.widest + 1)

    def network(self, ports: Ports, n_scores: int) -> TextCNNNetwork:
        return TextCNNNetwork(
            n_tokens(ports, "TextCNN"),
            n_scores,
            width=self.width,
            channels=self.channels,
            widths=self.widths,
            dropout=self.dropout,
        )


def n_tokens(ports: Ports, model: str) -> int:
    """Number of token ids of a ``Tokens`` view; ConfigError naming the model for another view."""
    if set(ports) != {"ids", "mask"}:
        raise ConfigError(
            "view", f"{model} takes Tokens, and this view has {', '.join(ports)}", "use view: tokens"
        )
    return ports["ids"].below
