"""Own table: an outcome predicted from a person's own table, one row a record.

What the columns are and which values of the label mean what is settled once, from the whole file, by the
publisher (``publishers.own_table_files``); a settled task reads posted rows and files of the same columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from ehrbench.core.errors import ConfigError, DataError
from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.task import Form, Parsed, RawInput, Skipped, Task, Words
from ehrbench.core.views import Table
from ehrbench.features.rows import Rows
from ehrbench.tasks.columns import Column
from ehrbench.tasks.names import NAME_REMEDY, RECORD_ID_SCHEMA, fault_of_name, id_of
from ehrbench.tasks.own_cells import (
    REMEDY,
    cell_schema,
    end_to_end,
    named_in,
    posted_cells,
    read_cells,
    subgroups_of,
    unseen_in,
)
from ehrbench.tasks.own_labels import METRICS, target_of
from ehrbench.tasks.raw_files import LEFT_OUT
from ehrbench.tasks.tabular_files import RawTable, csv_of, read_table


class OwnTable(Task):
    """One unit a row.

    Parameters
    ----------
    label: the column of the outcome, or several of them (multi-label).
    positive: the value of a label with two that is the outcome.
    id, group: columns that name a record and what must not straddle a split; time: of a temporal split.
    columns: name -> kind, or ``date:FORMAT``, in place of what is inferred. drop: columns left out.
    settled: columns, classes and kind of target as the data made them (``settle``); None before.
    """

    name: ClassVar[str] = "table"
    metric: ClassVar[str] = "auroc"
    metrics: ClassVar[tuple[str, ...]] = METRICS
    forms: ClassVar[tuple[Form, ...]] = (
        Form("a table with a header", (".csv", ".tsv", ".csv.gz"), ("text/*",), many=True),
        Form("a Parquet file", (".parquet",), ("application/vnd.apache.parquet",), many=True),
    )
    words: ClassVar[Words] = Words("row", "rows", "row", "rows", "file")
    harmless: ClassVar[frozenset[str]] = LEFT_OUT

    def __init__(
        self,
        label: str | Sequence[str] | None = None,
        positive: str | int | float | bool | None = None,
        id: str | None = None,
        group: str | None = None,
        time: str | None = None,
        columns: Mapping[str, str] | None = None,
        drop: Sequence[str] = (),
        settled: Mapping[str, Any] | None = None,
    ) -> None:
        if not label:
            raise ConfigError("task.label", "no column is named", "say task.label=COLUMN")
        self.labels = [label] if isinstance(label, str) else list(label)
        self.positive = None if positive is None else str(positive)
        self.id, self.group, self.time = id, group, time
        self.wanted, self.drop = dict(columns or {}), list(drop)
        self.settled: Mapping[str, Any] | None = None
        self.columns: list[Column] = []
        self.target, self._example = Target("binary", (self.labels[0],)), dict[str, Any]()
        if settled is not None:
            self.settle(settled)

    def settle(self, settled: Mapping[str, Any]) -> None:
        """Become what the data make of the task."""
        self.settled, self.target = settled, target_of(settled)
        self.columns = [Column.from_json(one) for one in settled["columns"]]
        self._example = dict(settled["example"])

    def settings(self) -> dict[str, Any]:
        return {"settled": self.settled}

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that predictions are made from."""
        return tuple(column.name for column in self.columns)

    def spelled(self, label: str) -> tuple[str, ...]:
        """The values of a binary label as the table spells them, the outcome last; () before ``settle``."""
        values: Mapping[str, int] = (self.settled or {}).get("values", {}).get(label, {})
        return tuple(sorted(values, key=lambda value: values[value]))

    def parse(self, inputs: Sequence[RawInput], *, strict: bool) -> Parsed:
        """Tables (any number of rows) and JSON objects of one row each."""
        parts, skipped, n_rows = [], [], 0
        for raw in inputs:
            table = (
                self._posted(raw) if isinstance(raw.body, Mapping) else read_table(raw.name, bytes(raw.body))
            )
            _, records, faults = self.records_of(table, strict=strict)
            parts.append(records)
            skipped += faults
            n_rows += table.n_rows
        return Parsed(joined_rows(parts, self.names), tuple(skipped), n_rows, len(skipped))

    def records_of(self, table: RawTable, *, strict: bool) -> tuple[np.ndarray, Records, list[Skipped]]:
        """Records of a table without labels, the rows (K,) they come from, and what was skipped."""
        values, levels, faults = read_cells(self.columns, table, strict=strict)
        ids = self._ids(table, strict, faults)
        groups = named_in(table, self.group, strict, faults)
        kept = np.setdiff1d(np.arange(table.n_rows), list(faults))
        payload = Rows(values[kept], self.names, levels)
        records = Records(
            ids=np.array([ids[i] for i in kept], dtype=str),
            groups=np.array([(groups or ids)[i] for i in kept], dtype=str),
            payload=payload,
            n_units=np.ones(len(kept), dtype=np.int64),
            subgroups=subgroups_of(self.columns, payload.values, payload.levels),
            flags={"unseen_category": unseen_in(self.columns, payload.values, payload.levels)},
        )
        return kept, records, [faults[i] for i in sorted(faults)]

    def _ids(self, table: RawTable, strict: bool, faults: dict[int, Skipped]) -> list[str]:
        if ids := named_in(table, self.id, strict, faults):
            return ids
        if table.posted:
            return [table.name]
        stem = table.name.rsplit("/", 1)[-1].split(".")[0]
        return [stem] if table.n_rows == 1 else [f"{stem}:{i + 1}" for i in range(table.n_rows)]

    def _posted(self, raw: RawInput) -> RawTable:
        """A JSON object as a table of one row; DataError for unknown, missing and impossible fields."""
        body = raw.body
        assert isinstance(body, Mapping)
        known = {*self.names, *self.labels, *filter(None, (self.id, self.group, self.time)), "record_id"}
        name = id_of(body, raw.name)
        for key in body:
            if key not in known:
                raise DataError("is not a known column", record=name, field=key, remedy=REMEDY)
        cells = posted_cells(self.columns, body, name)
        for extra in filter(None, (self.id, self.group)):
            if body.get(extra) is not None:
                if problem := fault_of_name(body[extra]):
                    raise DataError(problem, record=name, field=extra, remedy=NAME_REMEDY)
                cells[extra] = pa.array([str(body[extra])])
        return RawTable(name, cells, 1, 1, posted=True)

    def raw_schema(self) -> dict[str, Any]:
        properties: dict[str, Any] = {"record_id": RECORD_ID_SCHEMA}
        for name, about in ((self.group, "What it belongs to."), (self.id, "Returned with the answer.")):
            if name:
                properties[name] = RECORD_ID_SCHEMA | {"description": about}
        properties |= {column.name: cell_schema(column) for column in self.columns}
        return {
            "type": "object",
            "title": "Row",
            "description": f"One row of the table, to predict {', '.join(self.labels)}.",
            "required": list(self.names),
            "additionalProperties": False,
            "properties": properties,
            "examples": [self._example],
        }

    def example(self) -> RawInput:
        """A made-up row: the middle of each column."""
        return RawInput("example.csv", csv_of([self._example.keys(), self._example.values()]))

    def describe(self, records: Records) -> Table:
        """Numbers, flags and dates as they are, categories as numbers of their levels."""
        assert isinstance(records.payload, Rows)
        return Table(records.payload.values, records.payload.names, records.payload.levels)


def joined_rows(parts: Sequence[Records], names: tuple[str, ...]) -> Records:
    """Records of several inputs, end to end; levels are brought to one list."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        nobody = np.zeros(0, dtype=str)
        return Records(
            nobody, nobody, Rows(np.zeros((0, len(names)), np.float32), names), np.zeros(0, np.int64)
        )
    payloads = [part.payload for part in parts]
    levels: dict[str, tuple[str, ...]] = {}
    blocks = []
    categories = {name for p in payloads if isinstance(p, Rows) for name in p.levels}
    for name in categories:
        levels[name] = tuple(
            sorted({t for p in payloads if isinstance(p, Rows) for t in p.levels.get(name, ())})
        )
    for payload in payloads:
        assert isinstance(payload, Rows)
        values = payload.values.copy()
        for name in categories:
            column = values[:, names.index(name)]
            known = ~np.isnan(column)
            place = np.array([levels[name].index(t) for t in payload.levels.get(name, ())], dtype=np.float32)
            column[known] = place[column[known].astype(np.int64)] if len(place) else column[known]
        blocks.append(values)
    return end_to_end(parts, Rows(np.concatenate(blocks), names, levels))
