"""Events: irregular measurements of N patients, and descriptors that do not change.

Three columns in compressed sparse rows: patient i owns events ``starts[i]:starts[i+1]``, each a minute since
admission, a parameter and a value. Within a patient the order is canonical, by (parameter, minute), so that
equal patients are equal arrays whatever the order of their files, and a featurizer finds all values of one
parameter side by side without sorting. Values are clean and at most one a (parameter, minute) when the task
has merged them; this class does not clean.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Self

import numpy as np

from ehrbench.core.types import FloatArray, IntArray, StrArray
from ehrbench.features.stored import RowStore


@dataclass(frozen=True, eq=False)
class Events:
    """N patients with E events of P parameters, and D descriptors each.

    store: where views of exactly these N patients may be kept on disk; ``take`` drops it.
    """

    starts: IntArray  # (N+1,) int64
    minute: IntArray  # (E,) int16, since admission
    parameter: IntArray  # (E,) uint8, index into ``parameters``
    value: FloatArray  # (E,) float32
    descriptors: FloatArray  # (N, D) float32, NaN = unknown
    parameters: tuple[str, ...]  # P
    descriptor_names: tuple[str, ...]  # D
    store: RowStore | None = field(default=None, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def n_events(self) -> IntArray:
        """(N,) events of each patient."""
        return np.diff(self.starts)

    @property
    def cell(self) -> IntArray:
        """(E,) int64 ``patient * P + parameter`` of each event; non-decreasing."""
        patient = np.repeat(np.arange(len(self)) * len(self.parameters), self.n_events)
        return patient + self.parameter

    def take(self, index: IntArray) -> Self:
        """Patients at ``index``, in that order."""
        index = np.asarray(index)
        counts = self.n_events[index]
        starts = np.concatenate([[0], np.cumsum(counts)])
        source = np.repeat(self.starts[:-1][index] - starts[:-1], counts) + np.arange(starts[-1])
        return type(self)(
            starts,
            self.minute[source],
            self.parameter[source],
            self.value[source],
            self.descriptors[index],
            self.parameters,
            self.descriptor_names,
        )

    def digests(self) -> StrArray:
        """(N,) 32 hex digits over a patient's events and descriptors."""
        packed = np.empty(len(self.minute), dtype=[("m", "<i2"), ("p", "u1"), ("v", "<f4")])
        packed["m"], packed["p"], packed["v"] = self.minute, self.parameter, self.value
        events, size = memoryview(packed.tobytes()), packed.dtype.itemsize
        described = memoryview(np.ascontiguousarray(self.descriptors, dtype="<f4").tobytes())
        width = 4 * self.descriptors.shape[1]
        digests = []
        for i, (start, stop) in enumerate(
            zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True)
        ):
            h = blake2b(described[i * width : (i + 1) * width], digest_size=16)
            h.update(events[start * size : stop * size])
            digests.append(h.hexdigest())
        return np.array(digests, dtype="U32")


def event_order(patient: IntArray, parameter: IntArray, minute: IntArray) -> IntArray:
    """(E,) positions that bring events into canonical order; ties keep the order they came in.

    One sort of whole numbers that carry their own position: several times as fast as a stable argsort.
    """
    n = max(len(minute), 1)
    key = (patient.astype(np.int64) * 256 + parameter) * (1 << 15) + minute
    if len(key) and int(key.max()) > (1 << 62) // n:
        return np.argsort(key, kind="stable")
    return np.sort(key * n + np.arange(len(key))) % n


def concatenate(parts: list[Events]) -> Events:
    """Patients of all parts, in order; the parts share parameters and descriptors."""
    offsets = np.cumsum([0] + [len(part.value) for part in parts])
    starts = [part.starts[:-1] + offset for part, offset in zip(parts, offsets[:-1], strict=True)]
    return Events(
        np.concatenate([*starts, offsets[-1:]]),
        np.concatenate([part.minute for part in parts]),
        np.concatenate([part.parameter for part in parts]),
        np.concatenate([part.value for part in parts]),
        np.concatenate([part.descriptors for part in parts]),
        parts[0].parameters,
        parts[0].descriptor_names,
    )
