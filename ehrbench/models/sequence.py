"""What the models of a ``Sequence`` view share: which inputs are fed, and the settings all of them have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ehrbench.core.errors import ConfigError
from ehrbench.models.network import NetworkModel, Shapes
from ehrbench.models.settings import check_choice, check_flag, check_integer, check_multiple, check_range

#: As ``ehrbench.nets.pooling.POOLINGS``.
POOLINGS = ("last", "mean", "attention")


@dataclass(kw_only=True, eq=False)
class SequenceModel(NetworkModel):
    """width: hidden units of each layer; n_layers; dropout: before layers and in the head.

    pooling: how steps become one vector; attention_heads: of attention pooling, each takes its share of
        ``width``.
    use_mask, use_delta, use_statistics: feed missingness, hours since the last measurement, and statistics of
        each channel to the head.
    """

    width: int = 64
    n_layers: int = 1
    dropout: float = 0.3
    pooling: str = "last"
    attention_heads: int = 4
    use_mask: bool = True
    use_delta: bool = True
    use_statistics: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("width", self.width, 4, 4096)
        check_integer("n_layers", self.n_layers, 1, 32)
        check_range("dropout", self.dropout, 0.0, 0.9)
        check_choice("pooling", self.pooling, POOLINGS)
        check_integer("attention_heads", self.attention_heads, 1, 64)
        if self.pooling == "attention":
            check_multiple("width", self.width, "attention_heads", self.attention_heads)
        for key in ("use_mask", "use_delta", "use_statistics"):
            check_flag(key, getattr(self, key))

    def common(self, shapes: Shapes, n_scores: int) -> dict[str, Any]:
        """Arguments that every sequence network takes."""
        if missing := {"values", "mask", "time_hours", "static"} - set(shapes):
            raise ConfigError(
                "view",
                f"{type(self).__name__} takes a Sequence, and this view lacks {', '.join(sorted(missing))}",
                "use view: sequence, or another model",
            )
        return {
            "n_channels": shapes["values"][-1],
            "n_static": shapes["static"][-1],
            "n_classes": n_scores,
            "width": self.width,
            "n_layers": self.n_layers,
            "dropout": self.dropout,
            "pooling": self.pooling,
            "n_heads": self.attention_heads,
            "inputs": {
                "use_mask": self.use_mask,
                "use_delta": self.use_delta,
                "use_statistics": self.use_statistics,
            },
        }
