"""Subwords: texts as pieces of words, by a tokenizer that is made of the training texts.

Byte-pair encoding (Sennrich, Haddow & Birch 2016, "Neural machine translation of rare words with subword
units"): the most frequent neighbours become one token until there are as many tokens as wanted. A word that
training never saw falls apart into pieces that it did.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ehrbench.core.errors import ConfigError
from ehrbench.features.tokenizing import Tokenizing, library

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Subwords(Tokenizing):
    """``Texts`` to ``Tokens``.

    Parameters
    ----------
    vocabulary: tokens at most. max_tokens: of a text, its first ones.
    """

    def __init__(self, vocabulary: int = 8000, max_tokens: int = 512) -> None:
        for key, value, least in (("vocabulary", vocabulary, 100), ("max_tokens", max_tokens, 8)):
            if not least <= value <= 1_000_000:
                raise ConfigError(key, f"{value} is not from {least} to 1,000,000", "change its value")
        super().__init__()
        self.vocabulary, self.max_tokens = vocabulary, max_tokens

    def settings(self) -> dict[str, Any]:
        return {"vocabulary": self.vocabulary, "max_tokens": self.max_tokens}

    def tokenizer(self, texts: list[str]) -> Tokenizer:
        made = library()
        from tokenizers import models, normalizers, pre_tokenizers, trainers

        tokenizer = made(models.BPE(unk_token="[unknown]"))
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.BpeTrainer(
            vocab_size=self.vocabulary, special_tokens=["[padding]", "[unknown]"], show_progress=False
        )
        tokenizer.train_from_iterator(texts, trainer)
        tokenizer.enable_truncation(self.max_tokens)
        return tokenizer
