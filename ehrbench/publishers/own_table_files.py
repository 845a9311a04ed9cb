"""A person's own table: one file, or a folder of them, with the outcome in a column; a test file beside.

``settle`` looks at the whole table once and makes the task what the data are: the kind of each column, the
classes of the label, an example. ``read`` warns of columns that tell the outcome by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ehrbench.core.errors import ConfigError, DataError
from ehrbench.core.progress import SILENT, Progress
from ehrbench.core.records import Records
from ehrbench.core.task import Cohort, Parsed, Publisher, Task
from ehrbench.publishers.own_files import betrayals, days_in, middle, read_own_table, reading
from ehrbench.tasks.columns import infer
from ehrbench.tasks.own_labels import settled_labels
from ehrbench.tasks.own_table import OwnTable, joined_rows
from ehrbench.tasks.tabular_files import RawTable

TRAIN, TEST = "train", "test"
_REMEDY = "say data.file=PATH"


class OwnTableFiles(Publisher):
    """file: a CSV, a Parquet, or a folder of such; test_file: likewise, of the hold-out protocol."""

    def __init__(self, task: Task, file: str | None = None, test_file: str | None = None) -> None:
        super().__init__(task)
        self.file, self.test_file = file, test_file
        self._tables: dict[str, RawTable] = {}

    def default_sets(self) -> tuple[str, ...]:
        """The file, and the test file where there is one."""
        return (TRAIN, TEST) if self.test_file else (TRAIN,)

    def settle(self, root: Path, progress: Progress = SILENT) -> Task:
        task = self.task
        assert isinstance(task, OwnTable)
        if task.settled is not None:
            return task
        with progress.step(reading([self.file], "Looking at columns")):
            table = self._table(root, TRAIN)
            settled = self._settled(task, table)
        self.task = OwnTable(
            label=task.labels,
            positive=task.positive,
            id=task.id,
            group=task.group,
            time=task.time,
            columns=task.wanted,
            drop=task.drop,
            settled=settled,
        )
        return self.task

    def _settled(self, task: OwnTable, table: RawTable) -> dict[str, Any]:
        used = [("label", label) for label in task.labels]
        used += [(k, v) for k, v in (("id", task.id), ("group", task.group), ("time", task.time)) if v]
        for key, one in used:
            if one not in table.columns:
                near = ", ".join(list(table.columns)[:12])
                raise ConfigError(f"task.{key}", f"{table.name} has no column {one!r}", f"it has {near}")
        for named in (*task.wanted, *task.drop):
            if named not in table.columns:
                raise ConfigError(f"task.columns.{named}", f"{table.name} has no such column", "leave it out")
        columns, notes = [], list(table.notes)
        apart = {*task.labels, *filter(None, (task.id, task.group, task.time)), *task.drop}
        for name, cells in table.columns.items():
            if name in apart:
                continue
            column, note = infer(name, cells, task.wanted.get(name))
            notes += [note] if note else []
            if column.kind != "text":
                columns.append(column)
        if not columns:
            raise DataError(
                "has no column to predict from", file=table.name, remedy="name kinds by task.columns"
            )
        return settled_labels(task.labels, task.positive, table) | {
            "columns": [column.to_json() for column in columns],
            "example": {column.name: middle(column, table) for column in columns},
            "notes": notes,
        }

    def read(self, root: Path, sets: Sequence[str], progress: Progress = SILENT) -> Cohort:
        task = self.task
        assert isinstance(task, OwnTable)
        sets = tuple(dict.fromkeys(sets)) or self.default_sets()
        parts, parsed, set_of, times, n_rows, unknown = [], [], [], [], 0, 0
        with progress.step("Reading rows", total=len(sets)) as step:
            for name in sets:
                table = self._table(root, name)
                kept, records, skipped = task.records_of(table, strict=False)
                y = task.outcomes_of(table)[kept]
                known = np.flatnonzero(~np.isnan(y).all(axis=1))
                unknown += len(kept) - len(known)
                records = replace(records, target=y).take(known)
                task.check_skipped(Parsed(records, tuple(skipped), table.n_rows, len(skipped)), "mend them")
                parts.append(records)
                parsed += skipped
                set_of += [name] * len(records)
                times.append(days_in(table, task.time, task.wanted.get(task.time or ""))[kept][known])
                n_rows += table.n_rows
                step.advance()
        records = _together(task, parts)
        self._tables.clear()
        flow = {
            "rows": n_rows,
            "rows skipped": len(parsed),
            "rows without a label": unknown,
            "records": len(records),
        }
        time_of = np.concatenate(times) if task.time else np.zeros(0)
        notes = (
            *(task.settled or {}).get("notes", ()),
            *betrayals(task.describe(records), records.labels, task.target.classes),
        )
        return Cohort(records, sets, "publisher", tuple(parsed), flow, np.array(set_of), notes, time_of)

    def _table(self, root: Path, name: str) -> RawTable:
        files = {TRAIN: self.file, TEST: self.test_file}
        if name not in files:
            raise ConfigError("data.sets", f"{name!r} is no set", f"choose among {TRAIN}, {TEST}")
        file = files[name]
        if not file:
            key = "data.file" if name == TRAIN else "data.test_file"
            raise ConfigError(key, "no file is named", f"say {key}=PATH")
        if name not in self._tables:
            self._tables[name] = read_own_table(file, self.task.forms, _REMEDY)
        return self._tables[name]

    def download(self, root: Path, source: str | None = None, progress: Progress = SILENT) -> None:
        raise DataError("is your own: there is nothing to download", file=self.file, remedy=_REMEDY)

    def simulate(self, root: Path, n_records: int, seed: int, progress: Progress = SILENT) -> None:
        raise DataError("is your own: there is nothing to simulate", file=self.file, remedy=_REMEDY)


def _together(task: OwnTable, parts: list[Records]) -> Records:
    joined = joined_rows([part.without_labels() for part in parts], task.names)
    return replace(joined, target=np.concatenate([part.labels for part in parts]))
