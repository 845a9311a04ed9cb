"""MLP: a multi-layer perceptron on a scaled table."""

from __future__ import annotations

from dataclasses import dataclass

from ehrbench.core.errors import ConfigError
from ehrbench.models.network import NetworkModel, Ports
from ehrbench.models.settings import check_choice, check_integer, check_range
from ehrbench.nets.mlp import BLOCKS, EMBEDDINGS, MLPNetwork


@dataclass(kw_only=True, eq=False)
class MLP(NetworkModel):
    """width, n_layers: of the hidden layers; block: plain or residual ones.

    embedding: none, or periodic with ``embedding_size`` numbers a column.
    dropout, input_dropout: within the layers, and of the first one's inputs.
    The rest: ``TrainingSettings``.
    """

    width: int = 128
    n_layers: int = 1
    block: str = "residual"
    embedding: str = "periodic"
    embedding_size: int = 8
    dropout: float = 0.1
    input_dropout: float = 0.0
    learning_rate: float = 0.0007
    weight_decay: float = 10.0
    batch_size: int = 128
    max_epochs: int = 6
    patience: int = 2
    stackable = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("width", self.width, 4, 8192)
        check_integer("n_layers", self.n_layers, 1, 32)
        check_choice("block", self.block, BLOCKS)
        check_choice("embedding", self.embedding, EMBEDDINGS)
        check_integer("embedding_size", self.embedding_size, 1, 256)
        check_range("dropout", self.dropout, 0.0, 0.9)
        check_range("input_dropout", self.input_dropout, 0.0, 0.9)

    def network(self, ports: Ports, n_scores: int) -> MLPNetwork:
        if set(ports) != {"values"} or len(ports["values"].shape) != 1:
            raise ConfigError(
                "view", f"MLP takes a Table, and this view has {', '.join(ports)}", "use view: scaled_table"
            )
        return MLPNetwork(
            int(ports["values"].shape[0]),
            n_scores,
            width=self.width,
            n_layers=self.n_layers,
            block=self.block,
            embedding=self.embedding,
            embedding_size=self.embedding_size,
            dropout=self.dropout,
            input_dropout=self.input_dropout,
        )
