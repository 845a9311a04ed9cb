"""Tabular: ``Rows`` as a table, raw for trees, or scaled and one-hot for linear models and networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ehrbench.core.featurizer import Featurizer
from ehrbench.core.records import Records
from ehrbench.core.views import Table, View
from ehrbench.features.completing import Completing
from ehrbench.features.rows import Rows


class Tabular(Featurizer):
    """``Rows`` to ``Table``.

    Parameters
    ----------
    scaling: None (raw, NaN kept), or a method of ``Scaling``; holes then become the training median with an
        indicator.
    one_hot: columns of which each level seen in training becomes a column ``<name>=<level>`` of 0 and 1, so
        that a linear model need not take an ordinal code for an amount; names the table lacks are ignored.
    """

    def __init__(self, scaling: str | None = None, one_hot: Sequence[str] = ()) -> None:
        self.scaling, self.one_hot = scaling, list(one_hot)
        self._completing = None if scaling is None else Completing(scaling)
        self._levels: dict[str, np.ndarray] = {}

    def settings(self) -> dict[str, Any]:
        return {"scaling": self.scaling, "one_hot": self.one_hot}

    @property
    def key(self) -> str:
        """Everything the settings say is fitted: all settings share the raw rows."""
        return type(self).__qualname__

    def rows(self, records: Records) -> View:
        payload = records.payload
        assert isinstance(payload, Rows)
        return Table(payload.values, payload.names)

    def fit_rows(self, view: View) -> None:
        assert isinstance(view, Table)
        self._levels = {}
        for name in self.one_hot:
            if name in view.names:
                column = view.values[:, view.names.index(name)]
                self._levels[name] = np.unique(column[~np.isnan(column)])
        if self._completing is not None:
            self._completing.fit(self._expand(view))

    def apply(self, view: View) -> View:
        assert isinstance(view, Table)
        table = self._expand(view)
        return table if self._completing is None else self._completing.apply(table)

    def _expand(self, table: Table) -> Table:
        if not self._levels:
            return table
        plain = [i for i, name in enumerate(table.names) if name not in self._levels]
        blocks, names = [table.values[:, plain]], [table.names[i] for i in plain]
        for name, levels in self._levels.items():
            column = table.values[:, table.names.index(name)]
            blocks.append((column[:, None] == levels).astype(np.float32))
            names += [f"{name}={level:g}" for level in levels]
        return Table(np.concatenate(blocks, axis=1), tuple(names))

    def state(self) -> dict[str, np.ndarray]:
        own = {f"levels_{name}": levels for name, levels in self._levels.items()}
        return own | ({} if self._completing is None else self._completing.state())

    def restore(self, state: dict[str, np.ndarray]) -> None:
        prefix = "levels_"
        found = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        self._levels = {name: found[name] for name in self.one_hot if name in found}
        if self._completing is not None:
            self._completing.restore({k: v for k, v in state.items() if not k.startswith(prefix)})
