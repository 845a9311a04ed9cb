"""Tabular: ``Rows`` as a table, raw for trees, or scaled and one-hot for linear models and networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ehrbench.core.errors import ConfigError
from ehrbench.core.featurizer import Featurizer
from ehrbench.core.records import Records
from ehrbench.core.types import FloatArray
from ehrbench.core.views import Table, View
from ehrbench.features.completing import Completing
from ehrbench.features.rows import Rows


class Tabular(Featurizer):
    """``Rows`` to ``Table``.

    Parameters
    ----------
    scaling: None (raw, NaN kept, columns of categories as numbers of their levels), or a method of
        ``Scaling``; holes then become the training median with an indicator, and columns of categories one of
        0 and 1 for each level. A linear map of these is what an embedding of the levels is.
    one_hot: columns of numbers that are treated so, too, so that a linear model need not take an ordinal code
        for an amount; names the table lacks are ignored.
    least: levels of a category with fewer training rows count as one, with those that training never saw.
    """

    def __init__(self, scaling: str | None = None, one_hot: Sequence[str] = (), least: int = 5) -> None:
        if least < 1:
            raise ConfigError("least", f"{least} rows", "give 1 or more")
        self.scaling, self.one_hot, self.least = scaling, list(one_hot), int(least)
        self._completing = None if scaling is None else Completing(scaling)
        self._levels: dict[str, np.ndarray] = {}  # name -> training levels, texts or numbers

    def settings(self) -> dict[str, Any]:
        return {"scaling": self.scaling, "one_hot": self.one_hot, "least": self.least}

    @property
    def key(self) -> str:
        """Everything the settings say is fitted: all settings share the raw rows."""
        return type(self).__qualname__

    def rows(self, records: Records) -> View:
        payload = records.payload
        assert isinstance(payload, Rows)
        return Table(payload.values, payload.names, payload.levels)

    def fit_rows(self, view: View) -> None:
        assert isinstance(view, Table)
        self._levels = {}
        for name in (*view.levels, *self.one_hot):
            if name in view.names:
                column = view.values[:, view.names.index(name)]
                found, counts = np.unique(column[~np.isnan(column)], return_counts=True)
                if name in view.levels:
                    texts = np.array(view.levels[name], dtype=str)[found.astype(np.int64)]
                    found = np.sort(texts[counts >= self.least])
                self._levels[name] = found
        if self._completing is not None:
            self._completing.fit(self._expand(view))

    def apply(self, view: View) -> View:
        assert isinstance(view, Table)
        table = self._expand(view if self._completing is not None else self._renumbered(view))
        return table if self._completing is None else self._completing.apply(table)

    def _renumbered(self, table: Table) -> Table:
        """Levels by their place among the training levels, the last one being any other."""
        if not table.levels:
            return table
        values = table.values.copy()
        for name in table.levels:
            values[:, table.names.index(name)] = self._place(table, name)
        levels = {name: (*self._levels[name].tolist(), "other") for name in table.levels}
        return Table(values, table.names, levels)

    def _place(self, table: Table, name: str) -> FloatArray:
        """(U,) place of each cell's level among the training levels, their number for any other, or NaN."""
        column, kept = table.values[:, table.names.index(name)], self._levels[name]
        place = {level: i for i, level in enumerate(kept.tolist())}
        of_level = [place.get(level, len(kept)) for level in table.levels[name]]
        known = ~np.isnan(column)
        out = np.full(len(column), np.nan, dtype=np.float32)
        out[known] = np.array(of_level, dtype=np.float32)[column[known].astype(np.int64)]
        return out

    def _expand(self, table: Table) -> Table:
        """Columns of 0 and 1 for levels: of ``one_hot``, and of categories where the table is completed."""
        kept = {} if self._completing is not None else table.levels
        spread = {name: levels for name, levels in self._levels.items() if name not in kept}
        if not spread:
            return table
        plain = [i for i, name in enumerate(table.names) if name not in spread]
        blocks, names = [table.values[:, plain]], [table.names[i] for i in plain]
        parameter_of: dict[str, str] = {}
        for name, levels in spread.items():
            if name in table.levels:
                place = self._place(table, name)
                blocks.append((place[:, None] == np.arange(len(levels) + 1)).astype(np.float32))
                blocks.append(np.isnan(place)[:, None].astype(np.float32))
                spelled = [*(f"{name}={level}" for level in levels), f"{name}=other", f"{name}.missing"]
            else:
                column = table.values[:, table.names.index(name)]
                blocks.append((column[:, None] == levels).astype(np.float32))
                spelled = [f"{name}={level:g}" for level in levels]
            names += spelled
            parameter_of |= dict.fromkeys(spelled, name)
        return Table(np.concatenate(blocks, axis=1), tuple(names), kept, parameter_of)

    def state(self) -> dict[str, np.ndarray]:
        own = {f"levels_{name}": levels for name, levels in self._levels.items()}
        return own | ({} if self._completing is None else self._completing.state())

    def restore(self, state: dict[str, np.ndarray]) -> None:
        prefix = "levels_"
        found = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        self._levels = found
        if self._completing is not None:
            self._completing.restore({k: v for k, v in state.items() if not k.startswith(prefix)})
