"""PretrainedTokens: texts by the tokenizer of a pre-trained language model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ehrbench.core.errors import ConfigError
from ehrbench.core.featurizer import Featurizer
from ehrbench.core.records import Records
from ehrbench.core.views import Tokens, View
from ehrbench.features.pretrained import pretrained_file
from ehrbench.features.texts import Texts
from ehrbench.features.tokenizing import as_array, as_bytes, library, of_array, of_bytes, tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class PretrainedTokens(Featurizer):
    """``Texts`` to ``Tokens``.

    Parameters
    ----------
    pretrained: a folder with ``tokenizer.json``, or a model's name on the Hugging Face hub. Asked for when
        fitted; a bundle has the tokenizer in it.
    max_tokens: of a text, its first ones, the model's own marks among them.
    """

    def __init__(self, pretrained: str, max_tokens: int = 256) -> None:
        if not 8 <= max_tokens <= 100_000:
            raise ConfigError("max_tokens", f"{max_tokens} is not from 8 to 100,000", "change its value")
        self.pretrained, self.max_tokens = str(pretrained), max_tokens
        self._tokenizer: Tokenizer | None = None

    def settings(self) -> dict[str, Any]:
        return {"pretrained": self.pretrained, "max_tokens": self.max_tokens}

    @property
    def key(self) -> str:
        """Untokenized, a text is its bytes."""
        return type(self).__qualname__

    def rows(self, records: Records) -> View:
        assert isinstance(records.payload, Texts)
        return as_bytes(records.payload)

    def fit_rows(self, view: View) -> None:
        """Nothing is learned of the records: the tokenizer is read."""
        path: Path = pretrained_file(self.pretrained, "tokenizer.json")
        tokenizer = library().from_file(str(path))
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.max_tokens)
        self._tokenizer = tokenizer

    def apply(self, view: View) -> View:
        assert isinstance(view, Tokens)
        if self._tokenizer is None:
            raise RuntimeError("PretrainedTokens is not fitted")
        found = tokens(self._tokenizer, of_bytes(view))
        return Tokens(found.ids, found.starts, self._tokenizer.get_vocab_size())

    def state(self) -> dict[str, np.ndarray]:
        return {} if self._tokenizer is None else {"tokenizer": as_array(self._tokenizer)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self._tokenizer = of_array(state["tokenizer"])
