"""Near duplicates: notes that were made of one another, joined so that no split parts them.

Two notes belong together where they share so many runs of five words (shingles; Broder 1997, "On the
resemblance and containment of documents") that one is the other with changes, or an excerpt of it. All pairs
are compared, exactly: an inverted index, as one product of sparse matrices, gives the shingles that each two
notes share. That takes a second for some thousand notes; many more would want MinHash.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from ehrbench.core.types import IntArray
from ehrbench.features.texts import words

SHINGLE = 5
#: Least share of shingles of two notes together (resemblance) that both have.
RESEMBLANCE = 0.3
#: Least share of the shorter note's shingles (containment) that the longer has too, and how many at least.
CONTAINMENT, LEAST = 0.8, 10


def joined(texts: Sequence[str]) -> IntArray:
    """(N,) number of the first text that each text belongs to; near duplicates of near duplicates, too."""
    n = len(texts)
    if n == 0:
        return np.zeros(0, dtype=np.int64)
    shingles = [_shingles(text) for text in texts]
    sizes = np.array([len(found) for found in shingles])
    columns = np.unique(np.concatenate(shingles), return_inverse=True)[1]
    row = np.repeat(np.arange(n), sizes)
    has = sparse.csr_array((np.ones(len(row), dtype=np.int32), (row, columns)))
    shared = sparse.triu(has @ has.T, k=1).tocoo()
    one, other = sizes[shared.row], sizes[shared.col]
    alike = shared.data >= RESEMBLANCE * (one + other - shared.data)
    smaller = np.minimum(one, other)
    within = (shared.data >= CONTAINMENT * smaller) & (smaller >= LEAST)
    pairs = alike | within
    edges = (np.ones(int(pairs.sum())), (shared.row[pairs], shared.col[pairs]))
    _, component = connected_components(sparse.coo_array(edges, shape=(n, n)), directed=False)
    first = np.unique(component, return_index=True)[1]
    return np.asarray(first[component])


def _shingles(text: str) -> IntArray:
    """Distinct hashes of a text's runs of words; of all its words where these are fewer."""
    found = words(text)
    runs = range(max(len(found) - SHINGLE + 1, 1))
    return np.unique([zlib.crc32(" ".join(found[i : i + SHINGLE]).encode()) for i in runs])
