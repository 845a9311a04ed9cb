"""Tokenizing: what featurizers of texts by the ``tokenizers`` library share, where it is installed."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from ehrbench.core.errors import ConfigError
from ehrbench.core.featurizer import Featurizer
from ehrbench.core.records import Records
from ehrbench.core.types import IntArray
from ehrbench.core.views import Tokens, View, offsets
from ehrbench.features.texts import Texts

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Tokenizing(Featurizer):
    """``Texts`` to ``Tokens``: a subclass says which tokenizer it is. Untokenized, a text is its bytes."""

    def __init__(self) -> None:
        self._tokenizer: Tokenizer | None = None

    @property
    def key(self) -> str:
        """All settings are of what is fitted."""
        return type(self).__qualname__

    @abstractmethod
    def tokenizer(self, texts: list[str]) -> Tokenizer:
        """One that may have learned of these training texts and cuts a text to its length."""

    def rows(self, records: Records) -> View:
        assert isinstance(records.payload, Texts)
        return as_bytes(records.payload)

    def fit_rows(self, view: View) -> None:
        assert isinstance(view, Tokens)
        self._tokenizer = self.tokenizer(of_bytes(view))

    def apply(self, view: View) -> View:
        assert isinstance(view, Tokens)
        if self._tokenizer is None:
            raise RuntimeError(f"{type(self).__qualname__} is not fitted")
        found = [
            np.array(one.ids, dtype=np.int32) for one in self._tokenizer.encode_batch_fast(of_bytes(view))
        ]
        ids: IntArray = np.concatenate(found) if found else np.zeros(0, dtype=np.int32)
        starts = offsets(np.array([len(one) for one in found], dtype=np.int64))
        return Tokens(ids, starts, self._tokenizer.get_vocab_size())

    def state(self) -> dict[str, np.ndarray]:
        """The tokenizer's JSON, uint8."""
        if self._tokenizer is None:
            return {}
        return {"tokenizer": np.frombuffer(self._tokenizer.to_str().encode(), dtype=np.uint8)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self._tokenizer = library().from_str(state["tokenizer"].tobytes().decode())


def library() -> type[Tokenizer]:
    """``tokenizers.Tokenizer``; ConfigError saying what to install."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise ConfigError(
            "view", "tokenizers is not installed, which texts of tokens need", 'pip install "ehrbench[text]"'
        ) from None
    found: type[Tokenizer] = Tokenizer
    return found


def as_bytes(texts: Texts) -> Tokens:
    """Texts as they are, a token a byte of their UTF-8: what is not tokenized yet."""
    encoded = [text.encode() for text in texts.texts]
    ids = np.frombuffer(b"".join(encoded), dtype=np.uint8).astype(np.int32)
    return Tokens(ids, offsets(np.array([len(one) for one in encoded], dtype=np.int64)))


def of_bytes(view: Tokens) -> list[str]:
    """What ``as_bytes`` was given."""
    body = view.ids.astype(np.uint8).tobytes()
    return [body[a:b].decode() for a, b in zip(view.starts[:-1], view.starts[1:], strict=True)]
