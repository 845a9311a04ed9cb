"""Subwords: texts as pieces of words, by a tokenizer that is made of the training texts.

Byte-pair encoding (Sennrich, Haddow & Birch 2016, "Neural machine translation of rare words with subword
units"): the most frequent neighbours become one token until there are as many tokens as wanted. A word that
training never saw falls apart into pieces that it did.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ehrbench.core.errors import ConfigError
from ehrbench.core.featurizer import Featurizer
from ehrbench.core.records import Records
from ehrbench.core.views import Tokens, View
from ehrbench.features.texts import Texts
from ehrbench.features.tokenizing import as_array, as_bytes, library, of_array, of_bytes, tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Subwords(Featurizer):
    """``Texts`` to ``Tokens``.

    Parameters
    ----------
    vocabulary: tokens at most. max_tokens: of a text, its first ones.
    """

    def __init__(self, vocabulary: int = 8000, max_tokens: int = 512) -> None:
        for key, value, least in (("vocabulary", vocabulary, 100), ("max_tokens", max_tokens, 8)):
            if not least <= value <= 1_000_000:
                raise ConfigError(key, f"{value} is not from {least} to 1,000,000", "change its value")
        self.vocabulary, self.max_tokens = vocabulary, max_tokens
        self._tokenizer: Tokenizer | None = None

    def settings(self) -> dict[str, Any]:
        return {"vocabulary": self.vocabulary, "max_tokens": self.max_tokens}

    @property
    def key(self) -> str:
        """All settings are of what is fitted: unfitted, a text is its bytes."""
        return type(self).__qualname__

    def rows(self, records: Records) -> View:
        assert isinstance(records.payload, Texts)
        return as_bytes(records.payload)

    def fit_rows(self, view: View) -> None:
        assert isinstance(view, Tokens)
        made = library()
        from tokenizers import models, normalizers, pre_tokenizers, trainers

        tokenizer = made(models.BPE(unk_token="[unknown]"))
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.BpeTrainer(
            vocab_size=self.vocabulary, special_tokens=["[padding]", "[unknown]"], show_progress=False
        )
        tokenizer.train_from_iterator(of_bytes(view), trainer)
        tokenizer.enable_truncation(self.max_tokens)
        self._tokenizer = tokenizer

    def apply(self, view: View) -> View:
        assert isinstance(view, Tokens)
        if self._tokenizer is None:
            raise RuntimeError("Subwords is not fitted")
        found = tokens(self._tokenizer, of_bytes(view))
        return Tokens(found.ids, found.starts, self._tokenizer.get_vocab_size())

    def state(self) -> dict[str, np.ndarray]:
        return {} if self._tokenizer is None else {"tokenizer": as_array(self._tokenizer)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self._tokenizer = of_array(state["tokenizer"])
