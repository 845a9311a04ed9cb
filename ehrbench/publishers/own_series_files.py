"""A person's own series: a long table of measurements, a table of labels, and one of descriptors.

``settle`` looks at all of them once and makes the task what the data are: which variables there are, how
times are written, the kinds of descriptors, the classes of the label, an example. ``read`` tells of rows and
ids that do not meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ehrbench.core.errors import ConfigError, DataError
from ehrbench.core.progress import SILENT, Progress
from ehrbench.core.records import Timed
from ehrbench.core.task import Cohort, Parsed, Task
from ehrbench.core.types import FloatArray, StrArray
from ehrbench.publishers.own_files import (
    TEST,
    TRAIN,
    OwnFiles,
    betrayals,
    check_column,
    check_rows,
    dates_in,
    days_in,
    middle,
    predicting,
    reading,
)
from ehrbench.publishers.own_variables import horizon_notes, outside, settled_variables, without_series
from ehrbench.tasks.columns import Column, infer, values_of
from ehrbench.tasks.long_form import LongTable, time_format
from ehrbench.tasks.own_cells import names_in
from ehrbench.tasks.own_descriptors import brought_together
from ehrbench.tasks.own_labels import label_text, labels_of, settled_labels
from ehrbench.tasks.own_series import OwnSeries
from ehrbench.tasks.tabular_files import RawTable


class OwnSeriesFiles(OwnFiles[OwnSeries]):
    """file: measurements; labels, descriptors: a row a record; test_file: measurements of the test records.

    Each is a CSV, a Parquet, or a folder of such. Labels and descriptors hold the test records, too.
    """

    def __init__(
        self,
        task: OwnSeries,
        file: str | None = None,
        test_file: str | None = None,
        labels: str | None = None,
        descriptors: str | None = None,
    ) -> None:
        super().__init__(task, file, test_file)
        self.labels, self.descriptors = labels, descriptors

    def settle(self, root: Path, progress: Progress = SILENT) -> Task:
        if self.task.settled is not None:
            return self.task
        files = [self.file, self.labels, self.descriptors]
        with progress.step(reading(files, "Looking at variables and columns")):
            return self.become(self._settled())

    def _settled(self) -> dict[str, Any]:
        task, table, labels = self.task, self._long(TRAIN), self._beside("labels")
        for column in (*task.labels, *task.auxiliary):
            if column not in labels.columns:
                key = "task.label" if column in task.labels else "task.auxiliary"
                near = ", ".join([name for name in labels.columns if name != task.id][:12])
                raise ConfigError(key, f"{labels.name} has no column {column!r}", f"it has {near}")
        form = replace(task.form, format=time_format(table, task.form, task.wanted.get(task.form.time)))
        long = LongTable(table, form)
        beside = self._descriptor_tables([long])
        found: dict[str, Any] = settled_labels(task.labels, task.positive, labels)
        found["format"] = form.format
        notes = [*table.notes, *labels.notes]
        if form.has_dates:
            found["reference"] = self._reference_format(beside)
        variables, medians, told = settled_variables(long, task)
        columns, more = self._columns(beside)
        ids = names_in(labels, task.id)
        whole = brought_together(ids, task.id, beside)
        return found | {
            "variables": variables,
            "columns": [column.to_json() for column in columns],
            "example": {
                "values": {name: medians[name] for name in variables},
                "descriptors": {column.name: middle(column, whole) for column in columns},
            },
            "notes": [*notes, *told, *more],
        }

    def _reference_format(self, beside: Sequence[RawTable]) -> str:
        """How the dates that times count from are written; ConfigError where none are named."""
        task, labels = self.task, self._beside("labels")
        if task.reference is None:
            problem = f"{task.form.time} holds dates, which have to count from something"
            remedy = "name a column of dates, of labels or descriptors: task.reference=COLUMN"
            raise ConfigError("task.reference", problem, remedy)
        for table in (labels, *beside):
            if task.reference in table.columns:
                wanted = task.wanted.get(task.reference)
                return dates_in(table, task.reference, wanted, "reference").format
        raise ConfigError("task.reference", f"no table has a column {task.reference!r}", "name one of labels")

    def _columns(self, beside: Sequence[RawTable]) -> tuple[list[Column], list[str]]:
        """Descriptors that records are predicted from, and what to tell of them."""
        task = self.task
        whole = {name: cells for table in reversed(beside) for name, cells in table.columns.items()}
        for named in (*task.wanted, *task.drop):
            if named not in whole and named not in task.form.columns:
                raise ConfigError(f"task.columns.{named}", "there is no such descriptor", "leave it out")
        apart = {task.id, task.reference, task.group, task.time, *task.labels, *task.auxiliary, *task.drop}
        return predicting(whole, apart, task.wanted)

    def names(self, table: RawTable) -> list[str | None]:
        cells = table.columns[self.task.id].to_pylist() if self.task.id in table.columns else []
        return [None if cell is None else label_text(cell) for cell in cells]

    def read(self, root: Path, sets: Sequence[str], progress: Progress = SILENT) -> Cohort:
        task = self.task
        sets = tuple(dict.fromkeys(sets)) or self.default_sets()
        with progress.step("Reading measurements", total=len(sets)) as step:
            long = {}
            for name in sets:
                long[name] = LongTable(self._long(name), task.form)
                step.advance()
            labels = self._beside("labels")
            beside = self._descriptor_tables(list(long.values()))
            y, ids = (
                labels_of(labels, task.labels, task.settled or {}, task.target),
                names_in(labels, task.id),
            )
            known = np.asarray(~np.isnan(y).all(axis=1))
            set_of, notes = self._sets(ids, long, known)
            rows = np.flatnonzero(known & (set_of != ""))
            whole = brought_together(ids[rows], task.id, [labels, *beside])
            read = task.records_of(
                ids[rows], list(long.values()), [*beside, *self._dates(labels)], strict=False
            )
        task.check_skipped(Parsed(read.records, read.skipped, read.flow["rows"]), "mend them")
        records = replace(
            read.records,
            target=y[rows],
            groups=self._groups(whole, ids[rows]),
            auxiliary=self._auxiliary(labels, rows),
        )
        unmeasured = int(records.flags["no_measurements"].sum())
        flow = {
            **read.flow,
            "records without a label": int((~known).sum()),
            "records": len(records),
            "records without measurements": unmeasured,
        }
        last = records.payload.n_hours() if isinstance(records.payload, Timed) else 0
        notes += [*(task.settled or {}).get("notes", ()), *outside(list(long.values()), task)]
        notes += horizon_notes(read.flow, last, task.horizon_hours)
        notes += betrayals(task.describe(records), records.labels, task.target.classes)
        times = self._times(whole)
        self._tables.clear()
        return Cohort(records, sets, "publisher", read.skipped, flow, set_of[rows], tuple(notes), times)

    def _long(self, name: str) -> RawTable:
        table = self.of_set(name)
        for role, column in zip(("id", "time", "variable", "value"), self.task.form.columns, strict=True):
            check_column(table, column, "task.id" if role == "id" else f"task.measurements.{role}")
        check_rows(table)
        return table

    def _beside(self, key: str) -> RawTable:
        table = self.table(key, getattr(self, key))
        check_column(table, self.task.id, "task.id")
        return table

    def _descriptor_tables(self, long: Sequence[LongTable]) -> list[RawTable]:
        """The table of descriptors, and those that stand among the measurements."""
        own = [self._beside("descriptors")] if self.descriptors else []
        return [*own, *(without_series(one) for one in long if not one.timed.all())]

    def _dates(self, labels: RawTable) -> list[RawTable]:
        """The labels' table as far as it says when a record began; labels are no descriptors."""
        wanted = {self.task.id, self.task.reference}
        cells = {name: column for name, column in labels.columns.items() if name in wanted}
        return [replace(labels, columns=cells)] if self.task.reference in cells else []

    def _sets(
        self, ids: StrArray, long: dict[str, LongTable], known: np.ndarray
    ) -> tuple[StrArray, list[str]]:
        """(N,) the set of each id, "" for one of a set that is not read; what to tell of ids unmatched.

        A record without any row is of the first set: it is predicted from its descriptors.
        """
        set_of = np.full(len(ids), "", dtype=f"<U{max(map(len, long))}")
        named: set[str] = set()
        for name, one in long.items():
            own = set(one.names.tolist())
            if both := sorted(named & own):
                file = one.table.name
                raise DataError(
                    "stands in the training file, too", file=file, record=both[0], remedy="take it out"
                )
            named |= own
            set_of[np.isin(ids, one.names)] = name
        elsewhere: set[str] = set()
        for name in {TRAIN, TEST} - set(long) if self.test_file and self.file else ():
            elsewhere |= set(LongTable(self._long(name), self.task.form).names.tolist())
        without = np.flatnonzero((set_of == "") & ~np.isin(ids, list(elsewhere)))
        set_of[without] = next(iter(long))
        labelled, notes = set(ids[known].tolist()), []
        first = next(iter(long.values())).table
        labels = self._beside("labels")
        if not labelled & named:
            example = next(iter(sorted(named)), "")
            problem = f"no id of it is among {first.name}'s, such as {example}"
            remedy = "write ids alike in both, or name their column by task.id"
            raise labels.fault(0, self.task.id, problem, remedy)
        if unknown := sorted(named - labelled):
            notes.append(
                f"{labels.name}: {len(unknown):,} ids of {first.name} have no label there, the first is "
                f"{unknown[0]}; left out"
            )
        if silent := [i for i in without.tolist() if known[i]]:
            notes.append(
                f"{first.name}: {len(silent):,} ids of {labels.name} have no row, the first is "
                f"{ids[silent[0]]} ({labels.where(silent[0])}); predicted from descriptors alone"
            )
        return set_of, notes

    def _groups(self, whole: RawTable, ids: StrArray) -> StrArray:
        """(N,) what must not straddle a split: cells of ``group``, or the record itself."""
        if self.task.group is None:
            return ids
        _check_named(whole, "group", self.task.group)
        return names_in(whole, self.task.group)

    def _times(self, whole: RawTable) -> FloatArray:
        """(N,) days of the column that a temporal split goes by: ``time``, or the reference."""
        time = self.task.time or self.task.reference
        if time is None:
            return np.zeros(0)
        _check_named(whole, "time", time)
        return days_in(whole, time, self.task.wanted.get(time))

    def _auxiliary(self, labels: RawTable, rows: np.ndarray) -> dict[str, FloatArray]:
        found = {}
        for name in self.task.auxiliary:
            column, _ = infer(name, labels.columns[name])
            values, _, _ = values_of(column, labels)
            wrong = np.flatnonzero(~np.isnan(values) & ~np.isin(values, (0, 1)))
            if column.kind not in ("number", "flag") or len(wrong):
                at = int(wrong[0]) if len(wrong) else 0
                problem = f"{labels.columns[name][at].as_py()!r} is neither 0 nor 1"
                remedy = "give 0, 1 or nothing, or leave it out of task.auxiliary"
                raise labels.fault(at, name, problem, remedy)
            found[name] = values[rows].astype(np.float64)
        return found


def _check_named(whole: RawTable, key: str, column: str) -> None:
    if column not in whole.columns:
        problem = f"no table has a column {column!r}"
        raise ConfigError(f"task.{key}", problem, "name one of labels or descriptors")
