"""DSSM: the deep state-space model with an LSTM encoder, attention and a latent transition."""

from __future__ import annotations

from dataclasses import dataclass

from ehrbench.models.sequence import SequenceModel
from ehrbench.models.settings import check_flag, check_integer, check_multiple
from ehrbench.nets.dssm import DSSMEncoder


@dataclass(kw_only=True, eq=False)
class DSSM(SequenceModel):
    """n_pairs: conjugate pairs of latent states; bidirectional: of the LSTM, width / 2 each way.

    attention_heads: of the self-attention, too, so ``width`` is always a multiple of it.
    The rest: ``SequenceModel``, ``TrainingSettings``.
    """

    n_pairs: int = 16
    bidirectional: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("n_pairs", self.n_pairs, 1, 1024)
        check_flag("bidirectional", self.bidirectional)
        check_multiple("width", self.width, "the number of directions", 1 + self.bidirectional)
        check_multiple("width", self.width, "attention_heads", self.attention_heads)

    def encoder(self, n_inputs: int, any_length: bool) -> DSSMEncoder:
        return DSSMEncoder(
            n_inputs,
            self.width,
            n_layers=self.n_layers,
            bidirectional=self.bidirectional,
            n_pairs=self.n_pairs,
            n_heads=self.attention_heads,
            dropout=self.dropout,
            any_length=any_length,
        )
