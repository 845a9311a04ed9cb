"""A person's own files: read whole, those of a folder end to end; what is looked at first."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
from scipy.stats import rankdata

from ehrbench.core.errors import ConfigError, DataError
from ehrbench.core.progress import SILENT, Progress
from ehrbench.core.task import Publisher, Task
from ehrbench.core.types import FloatArray
from ehrbench.core.views import Table
from ehrbench.tasks.columns import Column, infer, values_of
from ehrbench.tasks.own_series import OwnSeries
from ehrbench.tasks.own_table import OwnTable
from ehrbench.tasks.raw_files import read_raw_files
from ehrbench.tasks.tabular_files import RawTable, read_table

OwnTask = TypeVar("OwnTask", OwnTable, OwnSeries)
TRAIN, TEST = "train", "test"
#: A column that ranks the outcome better than this, alone, betrays it.
BETRAYING = 0.995

#: Bytes of memory that a byte of text takes while it is read, and a row besides (its id, group and digest);
#: bytes of text in a byte of a packed file, and in a line of it.
_TIMES, _A_ROW, _PACKED, _LINE = 6, 400, 8, 50
#: Of less memory no word is said.
_MENTIONED = 2 << 30


def reading(files: Sequence[str | None], otherwise: str) -> str:
    """What the step that reads these files is called: with the memory it takes, where that is much."""
    size = sum(_memory(Path(file).expanduser()) for file in files if file)
    if size < _MENTIONED:
        return otherwise
    free = _free_memory()
    told = f", {free / 1e9:.0f} GB are free" if free else ""
    return f"{otherwise}: about {size / 1e9:.0f} GB of memory{told}"


def _memory(path: Path) -> float:
    """Bytes that reading a file, or the files of a folder, takes; rows are as long as the first ones."""
    if path.is_dir():
        return sum(_memory(one) for one in path.iterdir() if one.is_file())
    if not path.is_file():
        return 0
    if path.suffix.lower() not in (".csv", ".tsv", ".txt"):
        return path.stat().st_size * _PACKED * (_TIMES + _A_ROW / _LINE)
    with path.open("rb") as file:
        head = file.read(1 << 16)
    return path.stat().st_size * (_TIMES + _A_ROW * head.count(b"\n") / max(len(head), 1))


def _free_memory() -> int | None:
    """Bytes that the system could give, where it says so (Linux)."""
    path = Path("/proc/meminfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None


class OwnFiles(Publisher, Generic[OwnTask]):
    """The base of publishers of a person's own files, each read once: ``read`` lets go of them."""

    def __init__(self, task: OwnTask, file: str | None = None, test_file: str | None = None) -> None:
        super().__init__(task)
        self.task: OwnTask = task
        self.file, self.test_file = file, test_file
        self._tables: dict[str, RawTable] = {}
        self._donors: Mapping[str, str] = {}  # of ``with_contents``

    def default_sets(self) -> tuple[str, ...]:
        """The file, and the test file where there is one."""
        return (TRAIN, TEST) if self.test_file else (TRAIN,)

    def become(self, settled: Mapping[str, Any]) -> Task:
        """The task as the data made it; the one that was given stays as it was."""
        self.task = copy(self.task)
        self.task.settle(settled)
        return self.task

    def of_set(self, name: str) -> RawTable:
        """The table of a set's records; ConfigError for an unknown set and one whose file nobody named."""
        files = {TRAIN: ("file", self.file), TEST: ("test_file", self.test_file)}
        if name not in files:
            raise ConfigError("data.sets", f"{name!r} is no set", f"choose among {TRAIN}, {TEST}")
        return self.table(*files[name])

    def table(self, key: str, file: str | None) -> RawTable:
        """A file, or the files of a folder or archive, as one table; key: of ``data``, that names it."""
        if not file:
            raise ConfigError(f"data.{key}", "no file is named", f"say data.{key}=PATH")
        if key not in self._tables:
            remedy = f"name a file that is there and whole by data.{key}=PATH"
            found = read_raw_files(Path(file).expanduser(), self.task.forms, remedy).inputs
            table = stacked([read_table(raw.name, bytes(raw.body)) for raw in found])  # type: ignore[arg-type]
            self._tables[key] = self._exchanged(table) if self._donors else table
        return self._tables[key]

    def with_contents(
        self, root: Path, place: Path, donors: Mapping[str, str]
    ) -> tuple[Publisher, Path] | None:
        twin = copy(self)
        twin._tables, twin._donors = {}, donors
        return twin, root

    @abstractmethod
    def names(self, table: RawTable) -> list[str | None]:
        """(N,) the record of each row; None where it is none."""

    def _exchanged(self, table: RawTable) -> RawTable:
        """The table with each donor's rows under its receiver's name, group and outcomes."""
        rows_of: dict[str, list[int]] = {}
        for row, name in enumerate(self.names(table)):
            if name is not None:
                rows_of.setdefault(name, []).append(row)
        content: list[int] = []
        own: list[int | None] = []
        ids: list[str] = []
        for name in dict.fromkeys([*rows_of, *self._donors]):
            given = rows_of.get(self._donors.get(name, name), [])
            content += given
            own += [rows_of[name][0] if name in rows_of else None] * len(given)
            ids += [name] * len(given)
        task: OwnTask = self.task
        cells = table.columns
        columns = {name: column.take(pa.array(content, pa.int64())) for name, column in cells.items()}
        for name in {*task.labels, *getattr(task, "auxiliary", ()), task.group} & cells.keys():
            columns[name] = cells[name].take(pa.array(own, pa.int64()))
        if task.id in columns:
            columns[task.id] = pa.array(ids, pa.string())
        return replace(table, columns=columns, n_rows=len(content), lines=())

    def download(self, root: Path, source: str | None = None, progress: Progress = SILENT) -> None:
        raise DataError(
            "is your own: there is nothing to download", file=self.file, remedy="say data.file=PATH"
        )

    def simulate(self, root: Path, n_records: int, seed: int, progress: Progress = SILENT) -> None:
        raise DataError(
            "is your own: there is nothing to simulate", file=self.file, remedy="say data.file=PATH"
        )


def check_column(table: RawTable, column: str, key: str) -> None:
    """ConfigError that names the key, where the table has no such column."""
    if column not in table.columns:
        near = ", ".join(list(table.columns)[:12])
        raise ConfigError(key, f"{table.name} has no column {column!r}", f"it has {near}")


def check_rows(table: RawTable) -> None:
    """DataError where there is nothing below a file's header."""
    if not table.n_rows:
        raise DataError("holds no rows", file=table.name, remedy="give them below its header")


def predicting(
    table: Mapping[str, pa.Array], apart: Collection[str | None], wanted: Mapping[str, str]
) -> tuple[list[Column], list[str]]:
    """Columns that records are predicted from, and what to tell of them; ``apart`` and free text are not."""
    columns, notes = [], []
    for name, cells in table.items():
        if name not in apart:
            column, note = infer(name, cells, wanted.get(name))
            notes += [note] if note else []
            columns += [column] if column.kind != "text" else []
    _check_apart(columns)
    return columns, notes


def _check_apart(columns: list[Column]) -> None:
    """DataError for a column named as a part of another is: an indicator, or a level."""
    names = {column.name for column in columns}
    for column in columns:
        levels = [f"{column.name}={level}" for level in (*column.levels, "other")]
        for taken in names.intersection([f"{column.name}.missing", *levels]):
            problem = f"is what a part of column {column.name} is called here"
            raise DataError(problem, field=taken, remedy="rename it, or say task.drop=[COLUMN]")


def stacked(tables: list[RawTable]) -> RawTable:
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
    notes = tuple(note for table in tables for note in table.notes)
    parts = tuple(replace(table, columns={}) for table in tables)
    return RawTable(name, columns, sum(table.n_rows for table in tables), 1, notes, parts=parts)


def dates_in(table: RawTable, name: str, wanted: str | None, key: str = "time") -> Column:
    """A column that ``task.<key>`` names for its dates; DataError where it holds none."""
    column, _ = infer(name, table.columns[name], wanted)
    if column.kind != "date":
        remedy = f"name another task.{key}, or say task.columns.{name}=date:%d/%m/%Y"
        raise DataError("holds no dates", file=table.name, field=name, remedy=remedy)
    return column


def days_in(table: RawTable, time: str, wanted: str | None) -> FloatArray:
    """(N,) the time column in days, NaN where unknown; DataError where it holds no dates."""
    days, _, _ = values_of(dates_in(table, time, wanted), table)
    return days.astype(np.float64)


def middle(column: Column, table: RawTable) -> Any:
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
    number = float(np.sort(known)[len(known) // 2])
    return int(number) if number.is_integer() else float(f"{number:.6g}")


def betrayals(table: Table, y: FloatArray, classes: Sequence[str]) -> list[str]:
    """What to warn of: columns that rank a class almost without fault by themselves.

    By their values, in rows that have one; or by whether there is a value, as the date or the cause of death.
    """
    notes = []
    for c, name in enumerate(classes):
        label = y[:, c]
        for j, column in enumerate(table.names):
            cells = table.values[:, j]
            given = (~np.isnan(cells)).astype(np.float64)
            for subject, auroc in (
                (column, _auroc(label, cells, column in table.levels)),
                (f"whether {column} is given", _auroc(label, given, False)),
            ):
                if auroc is not None and auroc > BETRAYING:
                    notes.append(
                        f"{subject} tells {name} by itself (AUROC {auroc:.4f}): is it known before the "
                        f"outcome? task.drop=[{column}] leaves it out"
                    )
                    break
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
