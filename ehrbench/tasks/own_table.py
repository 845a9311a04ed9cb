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
from ehrbench.core.target import Kind, Target
from ehrbench.core.task import Form, Parsed, RawInput, Skipped, Task, Words
from ehrbench.core.types import BoolArray, FloatArray, StrArray
from ehrbench.core.views import Table
from ehrbench.features.rows import Rows
from ehrbench.tasks.columns import NO, SHOWN, YES, Column, values_of
from ehrbench.tasks.names import NAME_REMEDY, RECORD_ID_SCHEMA, fault_of_name, id_of
from ehrbench.tasks.numbers import of_json, shown
from ehrbench.tasks.raw_files import LEFT_OUT
from ehrbench.tasks.tabular_files import RawTable, read_table

_REMEDY = "give the columns of the training table; GET /model of a server lists them"
#: A category is a subgroup, too, where it has at most so many levels.
MOST_SUBGROUPS = 8


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
    metrics: ClassVar[tuple[str, ...]] = (
        *("auroc", "auprc", "brier", "log_loss", "sensitivity", "specificity", "f1", "balanced_accuracy"),
        *("net_benefit", "calibration_slope", "calibration_intercept", "ece"),
    )
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
        self.wanted, self.drop, self.settled = dict(columns or {}), list(drop), settled
        if isinstance(settled, Mapping):
            self.columns = [Column.from_json(one) for one in settled["columns"]]
            self.target = Target(_kind(settled["kind"]), tuple(settled["classes"]))
            self._example: dict[str, Any] = dict(settled["example"])
        else:
            self.columns, self._example = [], {}
            self.target = Target("binary", (self.labels[0],))

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
            kept, records, faults = self.records_of(table, strict=strict)
            parts.append(records)
            skipped += faults
            n_rows += table.n_rows
            del kept
        return Parsed(joined_rows(parts, self.names), tuple(skipped), n_rows, len(skipped))

    def records_of(self, table: RawTable, *, strict: bool) -> tuple[np.ndarray, Records, list[Skipped]]:
        """Records of a table without labels, the rows (K,) they come from, and what was skipped."""
        for column in self.columns:
            if column.name not in table.columns:
                raise DataError("has no such column", file=table.name, field=column.name, remedy=_REMEDY)
        values = np.empty((table.n_rows, len(self.columns)), dtype=np.float32)
        levels: dict[str, tuple[str, ...]] = {}
        faults: dict[int, Skipped] = {}
        for j, column in enumerate(self.columns):
            values[:, j], found, wrong = values_of(column, table)
            if column.kind == "category":
                levels[column.name] = found
            for i in np.flatnonzero(wrong).tolist():
                cell = shown(table.columns[column.name][i].as_py())
                problem = f"{cell} is no {column.kind}" + (f" ({column.format})" if column.format else "")
                if strict:
                    raise table.fault(i, column.name, problem, _REMEDY)
                faults.setdefault(i, Skipped(table.name, table.row(i), column.name, problem))
        ids = self._ids(table, strict, faults)
        groups = self._named(table, self.group, strict, faults)
        kept = np.setdiff1d(np.arange(table.n_rows), list(faults))
        payload = Rows(values[kept], self.names, levels)
        records = Records(
            ids=np.array([ids[i] for i in kept], dtype=str),
            groups=np.array([(groups or ids)[i] for i in kept], dtype=str),
            payload=payload,
            n_units=np.ones(len(kept), dtype=np.int64),
            subgroups=self._subgroups(payload),
            flags={"unseen_category": self._unseen(payload)},
        )
        return kept, records, [faults[i] for i in sorted(faults)]

    def _ids(self, table: RawTable, strict: bool, faults: dict[int, Skipped]) -> list[str]:
        if ids := self._named(table, self.id, strict, faults):
            return ids
        if table.posted:
            return [table.name]
        stem = table.name.rsplit("/", 1)[-1].split(".")[0]
        return [stem] if table.n_rows == 1 else [f"{stem}:{i + 1}" for i in range(table.n_rows)]

    def _named(
        self, table: RawTable, column: str | None, strict: bool, faults: dict[int, Skipped]
    ) -> list[str]:
        """What a column of names says of each row, nothing where it is not there; faults join the others."""
        if not column or column not in table.columns:
            return []
        names = []
        for i, cell in enumerate(table.columns[column].to_pylist()):
            name = "" if cell is None else label_text(cell)
            problem = "is empty" if cell is None else fault_of_name(name)
            if problem and (strict or cell is None):
                remedy = "fill it in" if cell is None else NAME_REMEDY
                raise table.fault(i, column, problem, remedy)
            if problem:
                faults.setdefault(i, Skipped(table.name, table.row(i), column, problem))
            names.append(name)
        return names

    def _subgroups(self, payload: Rows) -> dict[str, StrArray]:
        found = {}
        for j, column in enumerate(self.columns):
            cells = payload.values[:, j]
            known = ~np.isnan(cells)
            names: Sequence[str] = ("no", "yes")
            if column.kind == "category":
                found_levels = payload.levels.get(column.name, ())
                names = [level if level in column.levels else "other" for level in found_levels]
            if column.kind == "flag" or (column.kind == "category" and len(column.levels) <= MOST_SUBGROUPS):
                texts = np.full(len(cells), "unknown", dtype=f"<U{max([7, *map(len, names)])}")
                texts[known] = np.array(names, dtype=str)[cells[known].astype(np.int64)] if len(names) else ""
                found[column.name] = texts
        return found

    def _unseen(self, payload: Rows) -> BoolArray:
        """(N,) records with a level that training never had; models take all such for one, "other"."""
        unseen = np.zeros(len(payload.values), dtype=bool)
        for j, column in enumerate(self.columns):
            if column.kind == "category" and len(column.levels) < SHOWN:  # all of them are known
                levels = payload.levels.get(column.name, ())
                new = [code for code, level in enumerate(levels) if level not in column.levels]
                unseen |= np.isin(payload.values[:, j], new)
        return unseen

    def _posted(self, raw: RawInput) -> RawTable:
        """A JSON object as a table of one row; DataError for unknown, missing and impossible fields."""
        body = raw.body
        assert isinstance(body, Mapping)
        known = {*self.names, *self.labels, *filter(None, (self.id, self.group, self.time)), "record_id"}
        name = id_of(body, raw.name)
        for key in body:
            if key not in known:
                raise DataError("is not a known column", record=name, field=key, remedy=_REMEDY)
        cells: dict[str, pa.Array] = {}
        for column in self.columns:
            if column.name not in body:
                raise DataError(
                    "is missing", record=name, field=column.name, remedy=f"{_REMEDY}; null: unknown"
                )
            value = body[column.name]
            if not (value is None or isinstance(value, str | bool) or of_json(value) is not None):
                raise DataError(f"{shown(value)} is no cell", record=name, field=column.name, remedy=_REMEDY)
            if column.kind == "number" and isinstance(value, bool):
                raise DataError(
                    f"{shown(value)} is no number", record=name, field=column.name, remedy=_REMEDY
                )
            text = value is not None and not (column.kind == "number" and not isinstance(value, str))
            cells[column.name] = pa.array(
                [str(value).lower() if isinstance(value, bool) else str(value) if text else value],
                pa.string() if text or value is None else pa.float64(),
            )
        for extra in filter(None, (self.id, self.group)):
            if body.get(extra) is not None:
                if problem := fault_of_name(body[extra]):
                    raise DataError(problem, record=name, field=extra, remedy=NAME_REMEDY)
                cells[extra] = pa.array([str(body[extra])])
        return RawTable(name, cells, 1, 1, posted=True)

    def outcomes_of(self, table: RawTable) -> FloatArray:
        """(N, C) labels of a table's rows, NaN where unknown; DataError for a value training never had."""
        assert self.settled is not None
        for label in self.labels:
            if label not in table.columns:
                raise DataError(
                    "has no such column", file=table.name, field=label, remedy="name it by task.label"
                )
        y = np.full((table.n_rows, self.target.n_classes), np.nan)
        for place, label in enumerate(self.labels):
            texts = table.columns[label]
            cells = np.array([None if c is None else label_text(c) for c in texts.to_pylist()], dtype=object)
            known = np.array([c is not None for c in cells], dtype=bool)
            meant = {k: int(v) for k, v in self.settled["values"][label].items()}
            for i in np.flatnonzero(known).tolist():
                if cells[i] not in meant:
                    problem = f"{shown(cells[i])} is none of {', '.join(meant)}"
                    raise table.fault(i, label, problem, "mend it")
            codes = np.array([meant[c] for c in cells[known]], dtype=np.int64)
            if self.target.kind == "multiclass":
                y[known] = np.eye(self.target.n_classes)[codes]
            else:
                y[known, place] = codes
        return y

    def raw_schema(self) -> dict[str, Any]:
        properties: dict[str, Any] = {"record_id": RECORD_ID_SCHEMA}
        for name, about in ((self.group, "What it belongs to."), (self.id, "Returned with the answer.")):
            if name:
                properties[name] = RECORD_ID_SCHEMA | {"description": about}
        for column in self.columns:
            kind = {"number": ["number", "null"], "flag": ["boolean", "number", "string", "null"]}
            described = {"number": "number", "flag": "yes or no", "category": "one of a few texts"}
            about = described.get(column.kind, f"date, {column.format or 'ISO 8601'}")
            one: dict[str, Any] = {"type": kind.get(column.kind, ["string", "number", "null"])}
            one["description"] = about + (f", {column.unit}" if column.unit else "")
            if column.levels:
                one["examples"] = list(column.levels)
            properties[column.name] = one
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
        lines = [",".join(map(_quoted, cells)) for cells in (self._example.keys(), self._example.values())]
        return RawInput("example.csv", ("\n".join(lines) + "\n").encode())

    def describe(self, records: Records) -> Table:
        """Numbers, flags and dates as they are, categories as numbers of their levels."""
        assert isinstance(records.payload, Rows)
        return Table(records.payload.values, records.payload.names, records.payload.levels)


def label_values(
    texts: Sequence[str], positive: str | None, label: str
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Value -> number of one label column, and the classes: (label,) for two values, else the values.

    Raises ConfigError where it cannot be told which of two is the outcome.
    """
    values = sorted(set(texts), key=lambda t: (of_number(t) is None, of_number(t) or 0.0, t))
    if positive is not None:
        if positive not in values:
            problem = f"{shown(positive)} is none of {', '.join(values)}"
            raise ConfigError("task.positive", problem, f"name a value of {label}")
        return {value: int(value == positive) for value in values}, (label,)
    if len(values) > 2:
        return {value: i for i, value in enumerate(values)}, tuple(values)
    yes = [value for value in values if value.lower() in YES | _OUTCOMES or of_number(value) == 1]
    no = [value for value in values if value.lower() in NO or of_number(value) == 0]
    if not yes and len(no) == 1 and len(values) == 2:
        yes = [value for value in values if value not in no]
    if len(yes) != 1:
        problem = f"of {' and '.join(map(shown, values))} it cannot be told which is the outcome"
        raise ConfigError("task.positive", problem, f"say task.positive={values[-1]}")
    return {value: int(value == yes[0]) for value in values}, (label,)


#: Texts that name an outcome by themselves.
_OUTCOMES = frozenset({"died", "dead", "death", "deceased", "positive", "pos", "case", "malignant", "event"})


def of_number(text: str) -> float | None:
    """The number a text is, if it is one."""
    try:
        return float(text)
    except ValueError:
        return None


def label_text(cell: Any) -> str:
    """A label's cell as text: 1 for 1.0, true for True."""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()


def _quoted(cell: Any) -> str:
    text = "" if cell is None else str(cell)
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"\n') else text


def _kind(kind: str) -> Kind:
    assert kind in ("binary", "multilabel", "multiclass")
    return kind  # type: ignore[return-value]


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
    return Records(
        ids=np.concatenate([part.ids for part in parts]),
        groups=np.concatenate([part.groups for part in parts]),
        payload=Rows(np.concatenate(blocks), names, levels),
        n_units=np.ones(sum(map(len, parts)), dtype=np.int64),
        subgroups={k: np.concatenate([part.subgroups[k] for part in parts]) for k in parts[0].subgroups},
        flags={k: np.concatenate([part.flags[k] for part in parts]) for k in parts[0].flags},
    )
