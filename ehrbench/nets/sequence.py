"""Sequence networks: an encoder between what a sequence view feeds it and a head.

Of a ``Sequence`` view the steps are pooled, and the head sees descriptors and statistics beside them: scores
(B, C). Of a ``Tokens`` view the steps are embedded tokens, pooled likewise. Of a ``Signal`` view every step
has scores of its own, (B, L, C), from the same encoder.
"""

from __future__ import annotations

from torch import Tensor, nn

from ehrbench.nets.embedding import Embedding
from ehrbench.nets.head import Head
from ehrbench.nets.inputs import SequenceInput, SignalInput, TokenInput
from ehrbench.nets.network import Network
from ehrbench.nets.pooling import Pooling


class SequenceNetwork(Network):
    """encoder: steps (B, L, D), dt_hours (B, L), valid (B, L) -> (B, L, width), causal or not.

    Valid steps come first; whatever stands in the padding behind them must change nothing.
    """

    def __init__(
        self,
        inputs: SequenceInput | SignalInput | TokenInput,
        encoder: nn.Module,
        width: int,
        n_scores: int,
        *,
        dropout: float,
        pooling: str = "last",
        n_heads: int = 4,
    ) -> None:
        super().__init__()
        self.inputs, self.encoder = inputs, encoder
        self.embedding = Embedding(inputs.n_tokens, inputs.width) if isinstance(inputs, TokenInput) else None
        self.pooling = None if isinstance(inputs, SignalInput) else Pooling(width, pooling, n_heads)
        self.head = Head(width, inputs.n_wide, width, n_scores, dropout)

    def prepare(self, **arrays: Tensor) -> tuple[Tensor, ...]:
        prepared: tuple[Tensor, ...] = self.inputs(**arrays)
        return prepared

    def score(self, *prepared: Tensor) -> Tensor:
        steps, dt_hours, valid, *wide = prepared
        if self.embedding is not None:
            steps = self.embedding(steps, valid)
        h = self.encoder(steps, dt_hours, valid)  # (B, L, H)
        scores: Tensor = self.head(h if self.pooling is None else self.pooling(h, valid), *wide)
        return scores
