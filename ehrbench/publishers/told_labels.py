"""Told labels: records with outcomes that a server was told, as the files that their publisher reads.

So that a search takes them as it takes any others, by ``data.root`` and ``data.sets`` or by ``data.file``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ehrbench.core.errors import ConfigError, DataError
from ehrbench.core.task import RawInput, Task
from ehrbench.publishers.physionet2012.outcomes import COLUMNS
from ehrbench.tasks.mortality import Mortality
from ehrbench.tasks.own_table import OwnTable
from ehrbench.tasks.tabular_files import csv_of, read_table

#: The set of PhysioNet's that told records are written as; a root of their own holds no other.
SET = "c"


@dataclass(frozen=True)
class ToldRecord:
    """One record as it was posted. place: its number in that body; labels: class to what was told."""

    record: str
    raw: RawInput
    place: int
    labels: Mapping[str, bool | None]


def labelled_files(task: Task, records: Sequence[ToldRecord]) -> dict[str, bytes]:
    """Path under the data root to content, in the raw format of the task's publisher.

    Raises ConfigError for a task whose publisher has no such files, DataError naming a record that has none.
    """
    if isinstance(task, Mortality):
        return _challenge(records)
    if isinstance(task, OwnTable):
        return {"told.csv": _table(task, records)}
    remedy = "choose a bundle of the task mortality or table"
    raise ConfigError("--bundle", f"told outcomes of {task.name} have no publisher's form", remedy)


def _challenge(records: Sequence[ToldRecord]) -> dict[str, bytes]:
    files, rows = {}, [list(COLUMNS)]
    for one in records:
        if not one.record.isdecimal():
            remedy = "post records under the numbers that the challenge's files have"
            raise DataError("is no RecordID, a whole number", record=one.record, remedy=remedy)
        body = one.raw.body if isinstance(one.raw.body, bytes) else _text(one.record, one.raw.body)
        files[f"set-{SET}/{one.record}.txt"] = body
        died = next(iter(one.labels.values()))
        rows.append([one.record, "-1", "-1", "-1", "-1", str(int(bool(died)))])
    return {**files, f"Outcomes-{SET}.txt": csv_of(rows)}


def _text(record: str, body: Mapping[str, Any]) -> bytes:
    """The JSON form in the publisher's lines; -1 stands for what is not known."""
    known = {name: -1 if value is None else value for name, value in body["descriptors"].items()}
    rows: list[tuple[Any, ...]] = [("Time", "Parameter", "Value"), ("00:00", "RecordID", record)]
    rows += [("00:00", name, value) for name, value in known.items()]
    rows += [(event["time"], event["parameter"], event["value"]) for event in body["events"]]
    return csv_of(rows)


def _table(task: OwnTable, records: Sequence[ToldRecord]) -> bytes:
    """Columns in the task's order, its labels last, in the words that they had in training."""
    columns = [*filter(None, (task.id, task.group, task.time)), *task.names]
    rows: list[list[Any]] = [[*columns, *task.labels]]
    for one in records:
        cells = _cells(one)
        rows.append([cells.get(name) for name in columns] + _words(task, one.labels))
    return csv_of(rows)


def _cells(one: ToldRecord) -> Mapping[str, Any]:
    if isinstance(one.raw.body, Mapping):
        return one.raw.body
    table = read_table(one.raw.name, one.raw.body)
    return {name: column[one.place].as_py() for name, column in table.columns.items()}


def _words(task: OwnTable, labels: Mapping[str, bool | None]) -> list[str | None]:
    """Each label column's value: the first text that stood for it in the table of training."""
    values = (task.settled or {})["values"]
    told = list(labels.values())
    numbers = told if task.target.kind != "multiclass" else [told.index(True)]
    found: list[str | None] = []
    for label, number in zip(task.labels, numbers, strict=True):
        texts = {int(n): text for text, n in reversed(list(values[label].items()))}
        found.append(None if number is None else texts[int(number)])
    return found


def raw_input(name: str, kind: str, body: bytes) -> RawInput:
    """A posted body as the store holds it."""
    return RawInput(name, json.loads(body) if kind == "json" else body)
