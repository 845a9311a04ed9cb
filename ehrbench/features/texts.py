"""Texts: one text a record, as notes and letters give them."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Self

import numpy as np

from ehrbench.core.records import Piece
from ehrbench.core.types import IntArray, StrArray
from ehrbench.features.sketches import banded, mixed

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
#: A sentence ends with its stop, a heading with its colon, a line with itself.
_SENTENCE = re.compile(r"[^.!?;:\n]*(?:[.!?;:](?=\d)[^.!?;:\n]*)*[.!?;:\n]*[\s,]*")


@dataclass(frozen=True, eq=False)
class Texts:
    """N texts."""

    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, index: IntArray) -> Self:
        """Texts at ``index``, in that order."""
        return type(self)(tuple(self.texts[i] for i in np.asarray(index)))

    def digests(self) -> StrArray:
        """(N,) 32 hex digits of each text."""
        found = [blake2b(text.encode(), digest_size=16).hexdigest() for text in self.texts]
        return np.array(found, dtype="U32")

    def likenesses(self) -> np.ndarray:
        """See ``core.records.Likened``: runs of three words."""
        runs = [
            sorted(
                {zlib.crc32(" ".join(run).encode()) for run in zip(found, found[1:], found[2:], strict=False)}
            )
            for found in map(words, self.texts)
        ]
        owner = np.repeat(np.arange(len(self)), [len(run) for run in runs])
        return banded(
            owner, mixed(np.array([mark for run in runs for mark in run], dtype=np.int64)), len(self)
        )

    def shown(self) -> str:
        """What the pieces lie on: the one text itself."""
        (text,) = self.texts
        return text

    def pieces(self, most: int, within: Piece | None = None) -> list[Piece]:
        """Sentences of the one text as (start, stop), or the words of one of them; neighbours joined if many.

        >>> text = Texts(("Temp: 98.6 degrees.  No fever",))
        >>> [text.shown()[slice(*piece)] for piece in text.pieces(9)]
        ['Temp: ', '98.6 degrees.  ', 'No fever']
        >>> text.pieces(9, (21, 29)), text.pieces(2)
        ([(21, 23), (24, 29)], [(0, 21), (21, 29)])
        """
        (text,) = self.texts
        start, stop = (0, len(text)) if within is None else within
        pattern = _SENTENCE if within is None else _WORD
        spans = [match.span() for match in pattern.finditer(text, start, stop)]
        found = [(a, b) for a, b in spans if _WORD.search(text, a, b)]
        run = -(-len(found) // most)
        return [
            (part[0][0], part[-1][1]) for part in (found[i : i + run] for i in range(0, len(found), run or 1))
        ]

    def without(self, pieces: Sequence[Piece]) -> Self:
        """The one text once for each of ``pieces``, which it then lacks."""
        (text,) = self.texts
        return type(self)(tuple(f"{text[:a]} {text[b:]}" for a, b in pieces))


def words(text: str) -> list[str]:
    """Words and numbers of a text in small letters; punctuation, which transcripts scatter, counts nothing.

    >>> words("PREOPERATIVE DIAGNOSIS: ,Crohn's disease, 3-4 cm.")
    ['preoperative', 'diagnosis', "crohn's", 'disease', '3-4', 'cm']
    """
    return _WORD.findall(text.lower())
