"""Own series: an outcome predicted from a person's own long table of measurements, with descriptors beside.

What is measured, how times are written, what the descriptors are and which values of the label mean what is
settled once, from the files, by the publisher (``publishers.own_series_files``); a settled task reads posted
records and files of the same forms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from ehrbench.core.errors import ConfigError, DataError
from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.task import Form, Parsed, RawInput, Skipped, Task, Words
from ehrbench.core.types import FloatArray, StrArray
from ehrbench.core.views import Table
from ehrbench.features.events import Events, concatenate
from ehrbench.tasks.columns import Column, days_of
from ehrbench.tasks.long_form import CLOCK, NUMBER, UNITS, LongForm, LongTable
from ehrbench.tasks.measures import Measure
from ehrbench.tasks.names import NAME_REMEDY, fault_of_name
from ehrbench.tasks.numbers import shown
from ehrbench.tasks.own_cells import end_to_end, names_in, read_cells, subgroups_of, unseen_in
from ehrbench.tasks.own_descriptors import brought_together, places, spread, spread_values
from ehrbench.tasks.own_labels import METRICS, target_of
from ehrbench.tasks.posted_series import posted_tables, series_schema
from ehrbench.tasks.raw_files import LEFT_OUT
from ehrbench.tasks.stays import Measurements, Vocabulary, assemble, described
from ehrbench.tasks.tabular_files import RawTable, csv_of, read_table

_INFINITE = (-np.inf, np.inf)


@dataclass(frozen=True)
class Read:
    """Records without labels of some tables, and what became of their rows."""

    records: Records
    skipped: tuple[Skipped, ...]
    flow: dict[str, int]


class OwnSeries(Task):
    """One unit a record, which is whatever the id names: a patient, a stay.

    Parameters
    ----------
    label, positive: as of ``OwnTable``; columns of the table of labels.
    id: the column that names a record, in every table.
    measurements: what the long table's other columns are called: time, variable, value.
    time_unit: of times that are numbers.
    reference: a column of dates, of labels or descriptors, from which dates of measurements count.
    group, time: columns of labels or descriptors: what must not straddle a split; of a temporal split.
    horizon_hours: measurements after it are not looked at.
    variables: names, or how many of the most frequent. ranges: name -> [low, high] that is believed, of
        variables and descriptors. units: name -> unit. totals: those of which two in one minute add up.
    columns, drop: of descriptors, as of ``OwnTable``; a format of the time column, too.
    auxiliary: columns of labels, of 0 and 1, that are learned from beside the label and never predicted.
    settled: what the data made of it (``settle``); None before.
    """

    name: ClassVar[str] = "series"
    metric: ClassVar[str] = "auroc"
    metrics: ClassVar[tuple[str, ...]] = METRICS
    forms: ClassVar[tuple[Form, ...]] = (
        Form("a long table with a header", (".csv", ".tsv", ".csv.gz"), ("text/*",), many=True),
        Form("a Parquet file", (".parquet",), ("application/vnd.apache.parquet",), many=True),
    )
    words: ClassVar[Words] = Words("record", "records", "record", "records", "file", "hours since the start")
    harmless: ClassVar[frozenset[str]] = LEFT_OUT

    def __init__(
        self,
        label: str | Sequence[str] | None = None,
        positive: str | int | float | bool | None = None,
        id: str = "id",
        measurements: Mapping[str, str] | None = None,
        time_unit: str = "hours",
        reference: str | None = None,
        group: str | None = None,
        time: str | None = None,
        horizon_hours: float = 48,
        variables: int | Sequence[str] = 100,
        ranges: Mapping[str, Sequence[float]] | None = None,
        units: Mapping[str, str] | None = None,
        totals: Sequence[str] = (),
        columns: Mapping[str, str] | None = None,
        drop: Sequence[str] = (),
        auxiliary: Sequence[str] = (),
        settled: Mapping[str, Any] | None = None,
    ) -> None:
        if not label:
            raise ConfigError("task.label", "no column is named", "say task.label=COLUMN")
        self.labels = [label] if isinstance(label, str) else list(label)
        self.positive = None if positive is None else str(positive)
        roles = dict(measurements or {})
        if unknown := sorted(set(roles) - {"time", "variable", "value"}):
            raise ConfigError(
                f"task.measurements.{unknown[0]}", "unknown key", "give time, variable and value"
            )
        self.form = LongForm(id=id, unit=time_unit, **roles)
        self.id, self.reference, self.group, self.time = id, reference, group, time
        self.horizon_hours, self.variables = _hours(horizon_hours), _variables(variables)
        self.ranges = {name: _range(name, pair) for name, pair in (ranges or {}).items()}
        self.units, self.totals = dict(units or {}), tuple(_names("totals", totals))
        self.wanted, self.drop = dict(columns or {}), list(drop)
        self.auxiliary = _names("auxiliary", auxiliary)
        self.settled: Mapping[str, Any] | None = None
        self.columns: list[Column] = []
        self.target = Target("binary", (self.labels[0],))
        self.vocabulary = Vocabulary((), ())
        if settled is not None:
            self.settle(settled)

    def settle(self, settled: Mapping[str, Any]) -> None:
        """Become what the data make of the task."""
        self.settled, self.target = settled, target_of(settled)
        self.form = replace(self.form, format=settled["format"])
        self.columns = [Column.from_json(one) for one in settled["columns"]]
        series = tuple(self._measure(name) for name in settled["variables"])
        plain = tuple(self._measure(name) for column in self.columns for name in spread(column))
        described = tuple(column.name for column in self.columns for _ in spread(column))
        self.vocabulary = Vocabulary(series, plain, self.totals, described)

    def settings(self) -> dict[str, Any]:
        return {"settled": self.settled}

    def _measure(self, name: str) -> Measure:
        low, high = self.ranges.get(name, _INFINITE)
        return Measure(name, "", self.units.get(name, ""), low, high, "")

    def parse(self, inputs: Sequence[RawInput], *, strict: bool) -> Parsed:
        """Long tables and tables of descriptors, records of one id brought together; JSON, a record each."""
        long: list[RawTable] = []
        beside: list[RawTable] = []
        read: list[Read] = []
        for raw in inputs:
            if isinstance(raw.body, Mapping):
                events, row = posted_tables(self.form, self.columns, self._variable_names, raw.name, raw.body)
                read.append(self._read([LongTable(events, self.form.posted())], [row], strict=strict))
                continue
            table = read_table(raw.name, bytes(raw.body))
            (long if self.form.is_form_of(table) else beside).append(table)
        for table in beside:
            self._check_descriptors(table)
        if long or beside:
            read.insert(0, self._read([LongTable(table, self.form) for table in long], beside, strict=strict))
        parts = [one.records for one in read]
        records = parts[0]
        if len(parts) > 1:
            records = end_to_end(parts, concatenate([part.payload for part in parts]))  # type: ignore[misc]
        skipped = tuple(fault for one in read for fault in one.skipped)
        return Parsed(records, skipped, sum(one.flow["rows"] for one in read))

    @property
    def _variable_names(self) -> tuple[str, ...]:
        return tuple(measure.name for measure in self.vocabulary.series)

    @property
    def _static(self) -> frozenset[str]:
        """What is read of a record that does not change."""
        return frozenset({*(column.name for column in self.columns), *filter(None, [self.reference])})

    def _check_descriptors(self, table: RawTable) -> None:
        if self.id in table.columns and self._static & set(table.columns):
            return
        needed = f"{self.form.time}, {self.form.variable} and {self.form.value}"
        if self.columns:
            needed += f", or of {self.id} with {', '.join(c.name for c in self.columns[:4])}"
        raise DataError("is no table of measurements", file=table.name, remedy=f"give columns {needed}")

    def _read(self, long: Sequence[LongTable], beside: Sequence[RawTable], *, strict: bool) -> Read:
        """The records that any of the tables names, sorted by where they first stand."""
        names = [one.names for one in long] + [names_in(table, self.id) for table in beside]
        ids = np.array(
            list(dict.fromkeys(np.concatenate([np.zeros(0, dtype=str), *names]).tolist())), dtype=str
        )
        for name in ids.tolist():
            if problem := fault_of_name(name):
                raise DataError(problem, record=shown(name), field=self.id, remedy=NAME_REMEDY)
        return self.records_of(ids, long, beside, strict=strict)

    def records_of(
        self, ids: StrArray, long: Sequence[LongTable], beside: Sequence[RawTable], *, strict: bool
    ) -> Read:
        """Records of these ids (N,); rows of other ids are counted and not looked at further."""
        cells = brought_together(ids, self.id, [*beside, *(one.static for one in long)])
        starts = self._start_days(ids, cells)
        values, levels, faults = self._descriptors(cells, strict=strict)
        skipped = list(faults)
        flow: dict[str, int] = {"rows": sum(table.n_rows for table in beside), "rows skipped": len(faults)}
        parts = []
        for one in long:
            at = places(one.names, ids)
            days = np.append(starts, np.nan)[at]
            rows = one.read(self._variable_names, days, self._static, strict=strict)
            owner = at[rows.owner]
            of_these = np.flatnonzero(owner >= 0)
            parts.append([x[of_these] for x in (owner, rows.minute, rows.code, rows.value)])
            skipped += rows.skipped
            counted = {**rows.flow, "rows of records without a label": len(owner) - len(of_these)}
            for name, count in counted.items():
                flow[name] = flow.get(name, 0) + count
        record, minute, code, value = (
            np.concatenate([np.zeros(0, kind), *(part[k] for part in parts)])
            for k, kind in enumerate((np.int64, np.int64, np.int64, np.float64))
        )
        told = [spread_values(c, values[:, j], levels) for j, c in enumerate(self.columns)]
        read = Measurements(
            record, minute, code, value, np.concatenate([np.zeros((len(ids), 0)), *told], axis=1)
        )
        events, counts = assemble(read, self.vocabulary, self.horizon_hours)
        records = Records(
            ids=ids,
            groups=ids,
            payload=events,
            n_units=np.ones(len(ids), dtype=np.int64),
            subgroups=subgroups_of(self.columns, values, levels),
            flags={
                "no_measurements": events.n_events == 0,
                "unseen_category": unseen_in(self.columns, values, levels),
            },
        )
        return Read(records, tuple(skipped), flow | counts)

    def _descriptors(
        self, cells: RawTable, *, strict: bool
    ) -> tuple[FloatArray, dict[str, tuple[str, ...]], list[Skipped]]:
        """Cells that cannot be read are listed, and unknown."""
        nothing = pa.nulls(cells.n_rows, pa.string())
        whole = {column.name: cells.columns.get(column.name, nothing) for column in self.columns}
        table = RawTable(cells.name, whole, cells.n_rows, cells.first_line, posted=cells.posted)
        values, levels, faults = read_cells(self.columns, table, strict=strict)
        return values, levels, [faults[row] for row in sorted(faults)]

    def _start_days(self, ids: StrArray, cells: RawTable) -> FloatArray:
        """(N,) days of each record's reference, NaN where it has none."""
        if self.reference is None or self.reference not in cells.columns:
            return np.full(len(ids), np.nan)
        return days_of(cells.columns[self.reference], str((self.settled or {}).get("reference", "")))

    def raw_schema(self) -> dict[str, Any]:
        return series_schema(self.columns, self.vocabulary, self._example)

    @property
    def _example(self) -> dict[str, Any]:
        """A made-up record: the middle of each variable, twice."""
        if self.settled is None:
            return {"record_id": "1", "descriptors": {}, "events": []}
        minutes = [int(self.horizon_hours * 60 * share) for share in (0.25, 0.5)]
        events = [
            {"time": minute / 60, "variable": name, "value": value}
            for minute in minutes
            for name, value in self.settled["example"]["values"].items()
        ]
        return {
            "record_id": "1",
            "descriptors": dict(self.settled["example"]["descriptors"]),
            "events": events,
        }

    def example(self) -> RawInput:
        """The same as a long table whose descriptors are rows without a time."""
        example, start = self._example, "2000-01-01"
        static = dict(example["descriptors"])
        if self.form.has_dates and self.reference is not None:
            static[self.reference] = _written(start, 0, str((self.settled or {}).get("reference", "")))
        rows: list[Sequence[Any]] = [self.form.columns]
        rows += [("1", None, name, cell) for name, cell in static.items() if cell is not None]
        for event in example["events"]:
            minute = round(event["time"] * 60)
            if self.form.format == NUMBER:
                time = f"{minute / UNITS[self.form.unit]:.9g}"
            elif self.form.format == CLOCK:
                time = f"{minute // 60:02d}:{minute % 60:02d}"
            else:
                time = _written(start, minute, self.form.format)
            rows.append(("1", time, event["variable"], event["value"]))
        return RawInput("example.csv", csv_of(rows))

    def describe(self, records: Records) -> Table:
        """Descriptors, and a few statistics of each variable over the whole window."""
        assert isinstance(records.payload, Events)
        return described(records.payload, self.horizon_hours)


def _written(day: str, minute: int, date_format: str) -> str:
    stamp = np.datetime64(day, "m") + minute
    return str(stamp.astype("datetime64[s]").item().strftime(date_format or "%Y-%m-%d %H:%M:%S"))


def _hours(hours: Any) -> float:
    if isinstance(hours, bool) or not isinstance(hours, int | float) or not 0 < hours < 2**31 / 60:
        raise ConfigError("task.horizon_hours", f"{hours!r} is no number of hours above 0", "for example 48")
    return float(hours)


def _variables(variables: Any) -> int | list[str]:
    if isinstance(variables, int) and not isinstance(variables, bool):
        if variables < 1:
            raise ConfigError(
                "task.variables", f"{variables} variables", "give 1 or more, or a list of names"
            )
        return variables
    return _names("variables", variables)


def _names(key: str, names: Any) -> list[str]:
    if isinstance(names, str) or not isinstance(names, Sequence):
        problem = f"{names!r} is no list" + " and no number" * (key == "variables")
        raise ConfigError(f"task.{key}", problem, f"write task.{key}=[{names}]")
    if repeated := sorted({name for name in names if list(names).count(name) > 1}):
        raise ConfigError(f"task.{key}", f"{repeated[0]} stands there twice", "name it once")
    return [str(name) for name in names]


def _range(name: str, pair: Any) -> tuple[float, float]:
    good = isinstance(pair, Sequence) and not isinstance(pair, str) and len(pair) == 2
    if not good or not all(isinstance(end, int | float) for end in pair) or not pair[0] <= pair[1]:
        raise ConfigError(
            f"task.ranges.{name}", f"{pair!r} is no [low, high]", "give two numbers, the lower first"
        )
    return float(pair[0]), float(pair[1])
