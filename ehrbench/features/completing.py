"""Completing: a table with holes made whole for models that cannot take NaN, learned from training rows.

Columns that are known nowhere or never vary in training are dropped (they can teach nothing and a later
value of them would be an extrapolation); the others are scaled, holes set to the training median, and one
indicator added for each distinct pattern of holes.
"""

from __future__ import annotations

import numpy as np

from ehrbench.core.types import FloatArray, IntArray
from ehrbench.core.views import Table, indicators
from ehrbench.features.rows import alike
from ehrbench.features.scaling import Scaling


class Completing:
    """``Table`` with NaN to finite ``Table``."""

    def __init__(self, scaling: str) -> None:
        self._scaling = Scaling(scaling)
        self._kept: IntArray = np.zeros(0, dtype=np.int64)  # (K,) columns kept
        self._indicated: IntArray = np.zeros(0, dtype=np.int64)  # (M,) columns whose holes are indicated
        self._median: np.ndarray = np.zeros(0, dtype=np.float32)  # (K,) of scaled columns

    def fit(self, table: Table) -> None:
        values, holes = table.values, np.isnan(table.values)
        known_columns = [column[~hole] for column, hole in zip(values.T, holes.T, strict=True)]
        varies = [len(known) > 0 and known.min() < known.max() for known in known_columns]
        self._kept = np.flatnonzero(varies)
        self._scaling.fit(known_columns[k] for k in self._kept)
        patterns = {
            np.packbits(holes[:, k]).tobytes(): k
            for k in range(values.shape[1] - 1, -1, -1)
            if holes[:, k].any()
        }
        self._indicated = np.array(
            sorted(k for k in patterns.values() if not holes[:, k].all()), dtype=np.int64
        )
        scaled = self._scaling.apply(values[:, self._kept])
        self._median = np.nanmedian(scaled, axis=0).astype(np.float32)

    def apply(self, table: Table) -> Table:
        """(U, K + M) finite float32: scaled columns, then indicators (1 = missing)."""
        scaled = self._scaling.apply(table.values[:, self._kept])
        return self._completed(table, np.where(np.isnan(scaled), self._median, scaled))

    def apply_again(self, table: Table, before: Table, after: Table) -> Table:
        """``apply(table)`` by the cells that differ from ``before``, of as many rows; ``after``: of that."""
        values, scaled = table.values[:, self._kept], after.values[:, : len(self._kept)].copy()
        rows, columns = np.nonzero(~alike(values, before.values[:, self._kept]))
        found = self._scaling.cells(values[rows, columns], columns)
        scaled[rows, columns] = np.where(np.isnan(found), self._median[columns], found)
        return self._completed(table, scaled)

    def _completed(self, table: Table, scaled: FloatArray) -> Table:
        missing = np.isnan(table.values[:, self._indicated]).astype(np.float32)
        kept, holes = ([table.names[k] for k in places] for places in (self._kept, self._indicated))
        indicated = indicators(holes, table.parameter_of)
        values = np.concatenate([scaled, missing], axis=1)
        return Table(values, (*kept, *indicated), parameter_of={**table.parameter_of, **indicated})

    def state(self) -> dict[str, np.ndarray]:
        own = {"kept": self._kept, "indicated": self._indicated, "median": self._median}
        return own | {f"scaling_{name}": array for name, array in self._scaling.state().items()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self._kept, self._indicated, self._median = state["kept"], state["indicated"], state["median"]
        prefix = "scaling_"
        self._scaling.restore({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
