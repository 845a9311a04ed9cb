"""PretrainedTokens: texts by the tokenizer of a pre-trained language model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ehrbench.core.errors import ConfigError
from ehrbench.features.pretrained import pretrained_file
from ehrbench.features.tokenizing import Tokenizing, library

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class PretrainedTokens(Tokenizing):
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
        super().__init__()
        self.pretrained, self.max_tokens = str(pretrained), max_tokens

    def settings(self) -> dict[str, Any]:
        return {"pretrained": self.pretrained, "max_tokens": self.max_tokens}

    def tokenizer(self, texts: list[str]) -> Tokenizer:
        """Nothing is learned of the records: the tokenizer is read."""
        path: Path = pretrained_file(self.pretrained, "tokenizer.json")
        tokenizer = library().from_file(str(path))
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.max_tokens)
        return tokenizer
