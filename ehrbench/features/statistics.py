"""Statistics: one row a patient, each parameter told by statistics over windows of time. For trees and MLPs.

Columns, in order: ``<parameter>.<statistic>`` over all time, ``<parameter>.<statistic>@<from>-<to>`` for each
further window in hours, ``<descriptor>.descriptor``, then the clinical columns (see ``clinical``). Trees take
the table raw, NaN for what was not measured. With ``scaling`` the table is made fit for linear models and
networks: scaled, the missing set to the training median, and an indicator ``<column>.missing`` added for each
distinct pattern of missingness (the min, max and mean of one parameter are missing together: one indicator).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from ehrbench.core.errors import ConfigError
from ehrbench.core.featurizer import Featurizer
from ehrbench.core.records import Records
from ehrbench.core.types import FloatArray
from ehrbench.core.views import Table, View, grouped
from ehrbench.features.clinical import CLINICAL, NEEDS, clinical_columns, clinical_unit
from ehrbench.features.completing import Completing
from ehrbench.features.events import Events
from ehrbench.features.segments import STATISTICS, Segments, check_statistics, unit_of
from ehrbench.features.stored import stored_rows

FULL = (
    *("count", "mean", "min", "max", "std", "median"),
    *("first", "last", "change", "slope", "first_hour", "last_hour"),
)
WINDOWED = ("count", "mean", "min", "max", "last")
#: Early and late halves, and the last stretch, as shares of the horizon: what changed, and how it ended.
WINDOWS = ((0, 0.5), (0.5, 1), (0.75, 1))
#: A parameter, whose name may hold any mark, and what a column tells of it.
_COLUMN = re.compile(rf"(.*)\.({'|'.join(STATISTICS)}|descriptor)(@[^@]*)?", re.DOTALL)


class Statistics(Featurizer):
    """``Events`` to ``Table``.

    Parameters
    ----------
    statistics: of the whole window; names of ``segments.STATISTICS``.
    hours: the horizon; measurements after it are not looked at by windows.
    windows: further windows [from, to) in hours, None for ``WINDOWS`` of the horizon; one that ends at or
        after the last hour includes it.
    windowed: statistics of each further window.
    clinical: add the ratios of ``clinical.CLINICAL``.
    scaling: None (raw, NaN kept), or a method of ``Scaling``.
    """

    def __init__(
        self,
        statistics: Sequence[str] = FULL,
        windows: Sequence[Sequence[float]] | None = None,
        windowed: Sequence[str] = WINDOWED,
        clinical: bool = True,
        scaling: str | None = None,
        hours: float = 48,
    ) -> None:
        check_statistics([*statistics, *windowed])
        if not hours > 0:
            raise ConfigError("hours", f"{hours!r} is no horizon", "give hours above 0")
        self.hours = float(hours)
        if windows is None:
            windows = [[low * self.hours, high * self.hours] for low, high in WINDOWS]
        for window in windows:
            if len(window) != 2 or not 0 <= window[0] < window[1]:
                raise ConfigError("windows", f"{list(window)} is not [from, to) in hours", "give from < to")
        self.statistics, self.windowed = list(statistics), list(windowed)
        self.windows = [[float(low), float(high)] for low, high in windows]
        self.clinical, self.scaling = bool(clinical), scaling
        self._completing = None if scaling is None else Completing(scaling)

    def settings(self) -> dict[str, Any]:
        return {
            "statistics": self.statistics,
            "windows": self.windows,
            "windowed": self.windowed,
            "clinical": self.clinical,
            "scaling": self.scaling,
            "hours": self.hours,
        }

    @cached_property
    def key(self) -> str:
        """Scaling is fitted, so it does not shape ``rows``; raw and scaled share them."""
        return f"{type(self).__qualname__} { ({**self.settings(), 'scaling': None}) }"

    def unit(self, column: str, units: Mapping[str, str]) -> str:
        if self.clinical and column in CLINICAL:
            return clinical_unit(column, units)
        found = _COLUMN.fullmatch(column)
        return unit_of(found[2], units.get(found[1], "")) if found else ""

    def rows(self, records: Records) -> View:
        """Table (U, F), NaN for what was not measured."""
        return stored_rows(self.key, records, lambda: self._table(records.payload))  # type: ignore[arg-type]

    def _table(self, events: Events) -> Table:
        whole = Segments(events, 0, np.inf, closed=True)
        blocks = [(whole, statistic) for statistic in self.statistics]
        last_minute = 60 * max((high for _, high in self.windows), default=0)
        for low, high in self.windows:
            part = Segments(events, 60 * low, 60 * high, closed=60 * high >= last_minute)
            blocks += [(part, statistic) for statistic in self.windowed]
        width, n_told = len(events.parameters), len(blocks) * len(events.parameters)
        told = np.empty((len(events), n_told), dtype=np.float32)
        for n, (segments, statistic) in enumerate(blocks):
            segments.write(statistic, told[:, n * width : (n + 1) * width])
        derived = self._clinical(events, whole, told) if self.clinical else {}
        parts = [told, events.descriptors, *(column[:, None] for column in derived.values())]
        names, parameter_of = self._names(events, tuple(derived))
        return Table(np.concatenate(parts, axis=1, dtype=np.float32), names, parameter_of=parameter_of)

    def _names(self, events: Events, derived: tuple[str, ...]) -> tuple[tuple[str, ...], Mapping[str, str]]:
        windows = tuple(f"@{low:g}-{high:g}" for low, high in self.windows)
        return _column_names(
            (*self.statistics, *(f"{s}{window}" for window in windows for s in self.windowed)),
            events.parameters,
            events.descriptor_names,
            events.described,
            derived,
        )

    def _clinical(self, events: Events, whole: Segments, told: FloatArray) -> dict[str, FloatArray]:
        """told (N, …): the statistics of the whole window stand in front."""
        columns = {f"{d}.descriptor": events.descriptors[:, i] for i, d in enumerate(events.descriptor_names)}
        width = len(events.parameters)
        place = {p: i for i, p in enumerate(events.parameters)}
        tables = {s: told[:, i * width : (i + 1) * width] for i, s in enumerate(self.statistics)}
        for need in NEEDS:
            parameter, statistic = need.rsplit(".", 1)
            if parameter in place and need not in columns:
                if statistic not in tables:
                    tables[statistic] = np.empty((len(events), width), dtype=np.float32)
                    whole.write(statistic, tables[statistic])
                columns[need] = tables[statistic][:, place[parameter]]
        return clinical_columns(columns)

    def fit_rows(self, view: View) -> None:
        if self._completing is not None:
            self._completing.fit(view)  # type: ignore[arg-type]

    def apply(self, view: View) -> View:
        return view if self._completing is None else self._completing.apply(view)  # type: ignore[arg-type]

    def apply_again(self, view: View, before: View, after: View) -> View:
        if self._completing is None:
            return view
        return self._completing.apply_again(view, before, after)  # type: ignore[arg-type]

    def state(self) -> dict[str, np.ndarray]:
        return {} if self._completing is None else self._completing.state()

    def restore(self, state: dict[str, np.ndarray]) -> None:
        if self._completing is not None:
            self._completing.restore(state)


@lru_cache(maxsize=32)
def _column_names(
    told: tuple[str, ...],
    parameters: tuple[str, ...],
    descriptors: tuple[str, ...],
    described: tuple[str, ...],
    derived: tuple[str, ...],
) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """A thousand names, which take as long to make as one patient's values; and what they speak of."""
    named = {f"{p}.{what}": p for what in told for p in parameters}
    named |= {f"{d}.descriptor": of for d, of in zip(descriptors, described, strict=True)}
    return (*named, *derived), named | grouped(derived)
