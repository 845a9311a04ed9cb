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
import pyarrow as pa
from scipy.stats import rankdata

from ehrbench.core.errors import ConfigError, DataError
from ehrbench.core.progress import SILENT, Progress
from ehrbench.core.records import Records
from ehrbench.core.task import Cohort, Parsed, Publisher, Task
from ehrbench.core.types import FloatArray
from ehrbench.core.views import Table
from ehrbench.tasks.columns import Column, infer, values_of
from ehrbench.tasks.own_table import OwnTable, joined_rows, label_text, label_values
from ehrbench.tasks.raw_files import read_raw_files
from ehrbench.tasks.tabular_files import RawTable, read_table

TRAIN, TEST = "train", "test"
#: A column that ranks the outcome better than this, alone, betrays it.
BETRAYING = 0.995
#: A label has at most so many values.
MOST_CLASSES = 40
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
        with progress.step("Looking at columns"):
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
        values, classes = self._labels(task, table)
        kind = "multilabel" if len(task.labels) > 1 else "multiclass" if len(classes) > 1 else "binary"
        return {
            "kind": kind,
            "classes": list(classes),
            "values": values,
            "columns": [column.to_json() for column in columns],
            "example": {column.name: _middle(column, table) for column in columns},
            "notes": notes,
        }

    def _labels(self, task: OwnTable, table: RawTable) -> tuple[dict[str, dict[str, int]], tuple[str, ...]]:
        values: dict[str, dict[str, int]] = {}
        classes: list[str] = []
        for label in task.labels:
            texts = sorted(
                {label_text(cell) for cell in table.columns[label].drop_null().unique().to_pylist()}
            )
            if len(texts) < 2:
                problem = f"holds {'one value only, ' + texts[0] if texts else 'no value'}"
                raise DataError(problem, file=table.name, field=label, remedy="name another task.label")
            if len(texts) > (2 if len(task.labels) > 1 else MOST_CLASSES) and task.positive is None:
                remedy = "name a column of outcomes, or the value that is one by task.positive"
                raise DataError(f"holds {len(texts):,} values", file=table.name, field=label, remedy=remedy)
            values[label], found = label_values(texts, task.positive, label)
            classes += found
        return values, tuple(classes)

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
                times.append(_days_of(task, table)[kept][known])
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
            *_betrayals(task.describe(records), records.labels, task),
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
            path = Path(file).expanduser()
            found = read_raw_files(path, self.task.forms, _REMEDY)
            self._tables[name] = _stacked([read_table(raw.name, bytes(raw.body)) for raw in found.inputs])  # type: ignore[arg-type]
        return self._tables[name]

    def download(self, root: Path, source: str | None = None, progress: Progress = SILENT) -> None:
        raise DataError("is your own: there is nothing to download", file=self.file, remedy=_REMEDY)

    def simulate(self, root: Path, n_records: int, seed: int, progress: Progress = SILENT) -> None:
        raise DataError("is your own: there is nothing to simulate", file=self.file, remedy=_REMEDY)


def _stacked(tables: list[RawTable]) -> RawTable:
    """Files of one folder, end to end; DataError where their columns differ."""
    first = tables[0]
    for table in tables[1:]:
        if differ := set(table.columns) ^ set(first.columns):
            problem = f"has other columns than {first.name}"
            raise DataError(
                problem, file=table.name, field=min(differ), remedy="give files of the same columns"
            )
    if len(tables) == 1:
        return first
    columns = {}
    for name in first.columns:
        cells = [table.columns[name] for table in tables]
        same = all(c.type == cells[0].type for c in cells)
        columns[name] = pa.concat_arrays(cells if same else [c.cast(pa.string()) for c in cells])
    name = first.name.rsplit("/", 1)[0]
    return RawTable(
        name, columns, sum(t.n_rows for t in tables), 1, tuple(n for t in tables for n in t.notes)
    )


def _together(task: OwnTable, parts: list[Records]) -> Records:
    joined = joined_rows([part.without_labels() for part in parts], task.names)
    return replace(joined, target=np.concatenate([part.labels for part in parts]))


def _days_of(task: OwnTable, table: RawTable) -> FloatArray:
    """(N,) the time column in days, NaN where unknown; DataError where it holds no dates."""
    if task.time is None:
        return np.full(table.n_rows, np.nan)
    wanted = task.wanted.get(task.time, "")
    column, _ = infer(task.time, table.columns[task.time], wanted or None)
    if column.kind != "date":
        remedy = f"name another task.time, or say task.columns.{task.time}=date:%d/%m/%Y"
        raise DataError("holds no dates", file=table.name, field=task.time, remedy=remedy)
    days, _, _ = values_of(column, table)
    return days.astype(np.float64)


def _middle(column: Column, table: RawTable) -> Any:
    """A cell as JSON takes it: the median number, the most frequent level, the first date."""
    if column.kind == "category":
        return column.levels[0] if column.levels else None
    values, _, _ = values_of(column, table)
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    if column.kind == "flag":
        return "yes" if np.median(known) >= 0.5 else "no"
    if column.kind == "date":
        return str(table.columns[column.name].drop_null()[0].as_py())
    middle = float(np.sort(known)[len(known) // 2])
    return int(middle) if middle.is_integer() else float(f"{middle:.6g}")


def _betrayals(table: Table, y: FloatArray, task: OwnTable) -> list[str]:
    """What to warn of: columns that rank a class almost without fault by themselves, known rows only."""
    notes = []
    for c, name in enumerate(task.target.classes):
        label = y[:, c]
        for j, column in enumerate(table.names):
            auroc = _auroc(label, table.values[:, j], column in table.levels)
            if auroc is not None and auroc > BETRAYING:
                notes.append(
                    f"{column} tells {name} by itself (AUROC {auroc:.4f}): is it known before the outcome? "
                    f"task.drop=[{column}] leaves it out"
                )
    return notes


def _auroc(label: FloatArray, values: FloatArray, is_category: bool) -> float | None:
    """Of one column alone, whichever way it points; a category by its levels' share of outcomes."""
    known = ~np.isnan(label) & ~np.isnan(values)
    y, x = label[known], values[known]
    positives = int(y.sum())
    if len(y) < 20 or not 5 <= positives <= len(y) - 5:
        return None
    if is_category:
        codes = x.astype(np.int64)
        x = (np.bincount(codes, weights=y) / np.maximum(np.bincount(codes), 1))[codes]
    ranks = rankdata(x)
    area = (ranks[y == 1].sum() - positives * (positives + 1) / 2) / (positives * (len(y) - positives))
    return float(max(area, 1 - area))
