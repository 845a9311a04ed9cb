"""TfIdf: words, pairs of words and character n-grams of a text, weighed by how rare they are.

Salton & Buckley 1988, "Term-weighting approaches in automatic text retrieval": log term frequency times
inverse document frequency, rows of length 1. Before anything is fitted a term is only a hash: unfitted rows
need no vocabulary, so none can be made of records that a fit must not see. Which terms count, and how much,
is learned from training records. 2^30 hashes for words and as many for characters: of the 500,000 terms of
some thousand notes about a hundred meet another.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ehrbench.core.errors import ConfigError
from ehrbench.core.featurizer import Featurizer
from ehrbench.core.records import Records
from ehrbench.core.types import FloatArray, IntArray
from ehrbench.core.views import Bag, View, offsets
from ehrbench.features.texts import Texts, words

#: Hashes below are of words, those from here on of characters.
_HALF = 1 << 30
_COLUMNS = 1 << 31


class TfIdf(Featurizer):
    """``Texts`` to ``Bag``.

    Parameters
    ----------
    words: [fewest, most] words of a term, [] for none; at most 2. characters: likewise, n-grams of each word
        with a space at either end; at most 8.
    characters_share: of a row's squared length, where there are both.
    min_records: training records that a term must stand in; max_share: of the training records that it may
        stand in at most; max_columns: of the most frequent terms kept.
    """

    def __init__(
        self,
        words: Sequence[int] = (1, 2),
        characters: Sequence[int] = (3, 5),
        characters_share: float = 0.5,
        min_records: int = 2,
        max_share: float = 0.3,
        max_columns: int = 50_000,
    ) -> None:
        self.words, self.characters = _range("words", words, 2), _range("characters", characters, 8)
        if not self.words and not self.characters:
            raise ConfigError("words", "neither words nor characters are counted", "give one of them a range")
        for key, value in {"characters_share": characters_share, "max_share": max_share}.items():
            if not 0 <= value <= 1:
                raise ConfigError(key, f"{value} is not in [0, 1]", "change its value")
        if min_records < 1 or max_columns < 1:
            key = "min_records" if min_records < 1 else "max_columns"
            raise ConfigError(key, "is less than 1", "change its value")
        self.characters_share, self.max_share = characters_share, max_share
        self.min_records, self.max_columns = min_records, max_columns
        self._terms: IntArray = np.zeros(0, dtype=np.int32)  # (F,) hashes, ascending
        self._idf: FloatArray = np.zeros(0, dtype=np.float32)  # (F,)

    def settings(self) -> dict[str, Any]:
        return {
            "words": self.words,
            "characters": self.characters,
            "characters_share": self.characters_share,
            "min_records": self.min_records,
            "max_share": self.max_share,
            "max_columns": self.max_columns,
        }

    @property
    def key(self) -> str:
        """What is counted; the rest is fitted."""
        return f"{type(self).__qualname__} {self.words} {self.characters}"

    def rows(self, records: Records) -> View:
        """How often each term stands in each text, a column a hash."""
        assert isinstance(records.payload, Texts)
        known: dict[str, tuple[int, IntArray]] = {}
        found = [self._counts(text, known) for text in records.payload.texts]
        none: IntArray = np.zeros(0, dtype=np.int64)
        return Bag(
            np.concatenate([none, *(counts for _, counts in found)]).astype(np.float32),
            np.concatenate([none, *(terms for terms, _ in found)]).astype(np.int32),
            offsets(np.array([len(terms) for terms, _ in found], dtype=np.int64)),
            _COLUMNS,
        )

    def _counts(self, text: str, known: dict[str, tuple[int, IntArray]]) -> tuple[IntArray, IntArray]:
        """Terms of a text, ascending, and how often each stands there; ``known``: words hashed before."""
        hashes = []
        for word in words(text):
            if word not in known:
                known[word] = (_hash(word), self._grams(word))
            hashes.append(known[word])
        of_word = np.array([one for one, _ in hashes], dtype=np.int64)
        terms = [grams for _, grams in hashes] if self.characters else []
        if 1 in range(*_span(self.words)):
            terms.append(of_word)
        if 2 in range(*_span(self.words)):
            terms.append(_pairs(of_word))
        found = np.unique(np.concatenate(terms) if terms else of_word[:0], return_counts=True)
        return found[0], found[1]

    def _grams(self, word: str) -> IntArray:
        padded = f" {word} "
        grams = [
            padded[i : i + n]
            for n in range(*_span(self.characters))
            for i in range(max(len(padded) - n + 1, 0))
        ]
        return np.array([_HALF + _hash(gram) for gram in grams], dtype=np.int64)

    def fit_rows(self, view: View) -> None:
        assert isinstance(view, Bag)
        terms, counts = np.unique(view.columns, return_counts=True)  # a term once a row: records it stands in
        most = max(self.max_share * len(view), self.min_records)
        kept = np.flatnonzero((counts >= self.min_records) & (counts <= most))
        if len(kept) > self.max_columns:
            kept = np.sort(kept[np.argsort(-counts[kept], kind="stable")[: self.max_columns]])
        self._terms = terms[kept].astype(np.int32)
        self._idf = (np.log((1 + len(view)) / (1 + counts[kept])) + 1).astype(np.float32)

    def apply(self, view: View) -> Bag:
        assert isinstance(view, Bag)
        at = np.searchsorted(self._terms, view.columns)
        known = np.zeros(len(at), dtype=bool)
        inside = at < len(self._terms)
        known[inside] = self._terms[at[inside]] == view.columns[inside]
        columns = at[known].astype(np.int32)
        row = np.repeat(np.arange(len(view)), np.diff(view.starts))[known]
        data = (1 + np.log(view.data[known])) * self._idf[columns]
        by_characters = self._terms[columns] >= _HALF
        shares = (1 - self.characters_share, self.characters_share)
        for part, share in zip((~by_characters, by_characters), shares, strict=True):
            squares = np.bincount(row[part], weights=data[part].astype(np.float64) ** 2, minlength=len(view))
            factor = np.sqrt((share if self.words and self.characters else 1.0) / np.maximum(squares, 1e-12))
            data[part] = data[part] * factor[row[part]]
        starts = offsets(np.bincount(row, minlength=len(view)))
        return Bag(data.astype(np.float32), columns, starts, len(self._terms))

    def state(self) -> dict[str, np.ndarray]:
        return {"terms": self._terms, "idf": self._idf}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self._terms, self._idf = state["terms"], state["idf"]


def _range(key: str, value: Sequence[int], most: int) -> list[int]:
    found = list(value)
    if found and not (len(found) == 2 and 1 <= found[0] <= found[1] <= most):
        raise ConfigError(
            key, f"{found} is no [fewest, most] of 1 to {most}", "give two numbers, or [] for none"
        )
    return found


def _span(limits: Sequence[int]) -> tuple[int, int]:
    return (limits[0], limits[1] + 1) if limits else (0, 0)


def _hash(term: str) -> int:
    return zlib.crc32(term.encode()) & (_HALF - 1)


def _pairs(of_word: IntArray) -> IntArray:
    """(n - 1,) hashes of neighbouring words: mixed by multiplication, whose high bits are the best."""
    mixed = of_word[:-1].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + of_word[1:].astype(np.uint64)
    return (mixed * np.uint64(0xBF58476D1CE4E5B9) >> np.uint64(34)).astype(np.int64)
