"""Beats: intervals between the heart beats of recordings of any length, as a Holter reader exports them."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import ClassVar, Self

import numpy as np

from ehrbench.core.types import FloatArray, IntArray, StrArray
from ehrbench.core.views import ragged
from ehrbench.features.sketches import banded, mixed


@dataclass(frozen=True, eq=False)
class Beats:
    """N recordings, end to end: recording n has the beats ``starts[n]:starts[n + 1]``.

    rr_ms: interval before each beat. lost_ms: time between a beat and the one before it for which neither
        interval accounts (beats that the reader left out), mostly 0.
    """

    starts: IntArray  # (N + 1,)
    rr_ms: FloatArray  # (B,) float32
    lost_ms: FloatArray  # (B,) float32
    series_title: ClassVar[str] = "RR interval, ms (1000: 60 bpm, 600: 100 bpm)"

    def __len__(self) -> int:
        return len(self.starts) - 1

    def series(self) -> FloatArray:
        """See ``core.records.Serial``."""
        return self.rr_ms

    @property
    def n_beats(self) -> IntArray:
        """(N,)."""
        return np.diff(self.starts)

    def take(self, index: IntArray) -> Self:
        """Recordings at ``index``, in that order."""
        at, starts = ragged(self.starts, index)
        return type(self)(starts, self.rr_ms[at], self.lost_ms[at])

    def digests(self) -> StrArray:
        """(N,) 32 hex digits of each recording's numbers."""
        plain = np.stack([self.rr_ms, self.lost_ms], axis=1).astype("<f4") + np.float32(0)  # -0 counts as 0
        return np.array(
            [
                blake2b(plain[a:b].tobytes(), digest_size=16).hexdigest()
                for a, b in zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True)
            ],
            dtype="U32",
        )

    def likenesses(self) -> np.ndarray:
        """See ``core.records.Likened``: runs of three intervals, to 10 ms."""
        owner, tens = np.repeat(np.arange(len(self)), self.n_beats), np.rint(self.rr_ms / 10).astype(np.int64)
        within = np.flatnonzero(owner[2:] == owner[:-2]) if len(owner) > 2 else np.zeros(0, dtype=np.int64)
        return banded(owner[within], mixed(tens[within], tens[within + 1], tens[within + 2]), len(self))
