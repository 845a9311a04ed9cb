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
from ehrbench.core.task import Cohort, Parsed, Task
from ehrbench.publishers.own_files import (
    TRAIN,
    OwnFiles,
    betrayals,
    check_column,
    check_rows,
    days_in,
    middle,
    predicting,
    reading,
)
from ehrbench.tasks.own_cells import check_once
from ehrbench.tasks.own_labels import labels_of, settled_labels
from ehrbench.tasks.own_table import OwnTable, joined_rows
from ehrbench.tasks.tabular_files import RawTable

_REPEATED = "keep one of the two, or where a patient has several rows say task.group in place of task.id"


class OwnTableFiles(OwnFiles[OwnTable]):
    """file: a CSV, a Parquet, or a folder of such; test_file: likewise, of the hold-out protocol."""

    def settle(self, root: Path, progress: Progress = SILENT) -> Task:
        if self.task.settled is not None:
            return self.task
        with progress.step(reading([self.file], "Looking at columns")):
            return self.become(self._settled(self.task, self.of_set(TRAIN)))

    def _settled(self, task: OwnTable, table: RawTable) -> dict[str, Any]:
        used = [("label", label) for label in task.labels]
        used += [(k, v) for k, v in (("id", task.id), ("group", task.group), ("time", task.time)) if v]
        for key, one in used:
            check_column(table, one, f"task.{key}")
        check_rows(table)
        for named in (*task.wanted, *task.drop):
            if named not in table.columns:
                raise ConfigError(f"task.columns.{named}", f"{table.name} has no such column", "leave it out")
        apart = {*task.labels, *filter(None, (task.id, task.group, task.time)), *task.drop}
        columns, notes = predicting(table.columns, apart, task.wanted)
        if not columns:
            others = [f"{name!r}" for name in table.columns if name not in apart]
            problem = f"has no column to predict from, {'; '.join(notes) or 'besides the label'}"
            remedy = "say task.columns.COLUMN=category" if others else "give one beside it"
            raise DataError(problem, file=table.name, remedy=remedy)
        return settled_labels(task.labels, task.positive, table) | {
            "columns": [column.to_json() for column in columns],
            "example": {column.name: middle(column, table) for column in columns},
            "notes": [*table.notes, *notes],
        }

    def names(self, table: RawTable) -> list[str | None]:
        kept, records, _ = self.task.records_of(table, strict=False)
        found: list[str | None] = [None] * table.n_rows
        for row, name in zip(kept.tolist(), records.ids.tolist(), strict=True):
            found[row] = name
        return found

    def read(self, root: Path, sets: Sequence[str], progress: Progress = SILENT) -> Cohort:
        task = self.task
        sets = tuple(dict.fromkeys(sets)) or self.default_sets()
        parts, parsed, set_of, times, n_rows, unknown = [], [], [], [], 0, 0
        with progress.step("Reading rows", total=len(sets)) as step:
            for name in sets:
                table = self.of_set(name)
                kept, records, skipped = task.records_of(table, strict=False)
                if task.id:
                    check_once(table, records.ids, _REPEATED, kept)
                y = labels_of(table, task.labels, task.settled or {}, task.target)[kept]
                known = np.flatnonzero(~np.isnan(y).all(axis=1))
                unknown += len(kept) - len(known)
                records = replace(records, target=y).take(known)
                task.check_skipped(Parsed(records, tuple(skipped), table.n_rows, len(skipped)), "mend them")
                parts.append(records)
                parsed += skipped
                set_of += [name] * len(records)
                if task.time:
                    times.append(days_in(table, task.time, task.wanted.get(task.time))[kept][known])
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


def _together(task: OwnTable, parts: list[Records]) -> Records:
    joined = joined_rows([part.without_labels() for part in parts], task.names)
    return replace(joined, target=np.concatenate([part.labels for part in parts]))
