"""BERT: a pre-trained transformer encoder of Hugging Face's, and a linear head on its first token.

Devlin et al. 2019, "BERT: pre-training of deep bidirectional transformers"; Sanh et al. 2019, "DistilBERT".
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ehrbench.nets.network import Network


class BertNetwork(Network):
    """encoder: a transformers model whose ``last_hidden_state`` is (B, L, width)."""

    def __init__(self, encoder: Any, width: int, n_scores: int, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout, self.out = nn.Dropout(dropout), nn.Linear(width, n_scores)

    def prepare(self, **arrays: Tensor) -> tuple[Tensor, ...]:
        return arrays["ids"], arrays["mask"]

    def score(self, *prepared: Tensor) -> Tensor:
        ids, mask = prepared
        # a mask of one number for each pair of tokens, which the encoder adds as it is
        pairs = ((1 - mask) * -1e4)[:, None, None, :]
        h = self.encoder(input_ids=ids, attention_mask=pairs).last_hidden_state[:, 0]
        scores: Tensor = self.out(self.dropout(h))
        return scores
