"""Tokenizing: the ``tokenizers`` library, where it is installed, and a tokenizer as an array and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ehrbench.core.errors import ConfigError
from ehrbench.core.types import IntArray
from ehrbench.core.views import Tokens, offsets
from ehrbench.features.texts import Texts

if TYPE_CHECKING:
    from tokenizers import Tokenizer


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


def as_array(tokenizer: Tokenizer) -> np.ndarray:
    """The tokenizer's JSON, uint8."""
    return np.frombuffer(tokenizer.to_str().encode(), dtype=np.uint8)


def of_array(array: np.ndarray) -> Tokenizer:
    """What ``as_array`` wrote."""
    return library().from_str(array.tobytes().decode())


def as_bytes(texts: Texts) -> Tokens:
    """Texts as they are, a token a byte of their UTF-8: what is not tokenized yet."""
    encoded = [text.encode() for text in texts.texts]
    ids = np.frombuffer(b"".join(encoded), dtype=np.uint8).astype(np.int32)
    return Tokens(ids, offsets(np.array([len(one) for one in encoded], dtype=np.int64)))


def of_bytes(view: Tokens) -> list[str]:
    """What ``as_bytes`` was given."""
    body = view.ids.astype(np.uint8).tobytes()
    return [body[a:b].decode() for a, b in zip(view.starts[:-1], view.starts[1:], strict=True)]


def tokens(tokenizer: Tokenizer, texts: list[str]) -> Tokens:
    """The texts by a tokenizer that cuts them to their length and adds what it adds."""
    ids: list[IntArray] = [
        np.array(found.ids, dtype=np.int32) for found in tokenizer.encode_batch_fast(texts)
    ]
    return Tokens(
        np.concatenate(ids) if ids else np.zeros(0, dtype=np.int32),
        offsets(np.array([len(one) for one in ids], dtype=np.int64)),
    )
