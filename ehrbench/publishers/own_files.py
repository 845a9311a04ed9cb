"""A person's own files: read whole, those of a folder end to end; what is looked at first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.stats import rankdata

from ehrbench.core.errors import DataError
from ehrbench.core.task import Form
from ehrbench.core.types import FloatArray
from ehrbench.core.views import Table
from ehrbench.tasks.columns import Column, infer, values_of
from ehrbench.tasks.raw_files import read_raw_files
from ehrbench.tasks.tabular_files import RawTable, read_table

#: A column that ranks the outcome better than this, alone, betrays it.
BETRAYING = 0.995

#: Bytes of memory that a byte of text takes while it is read, and bytes of text in a byte of a packed file.
_TIMES, _PACKED = 6, 8
#: Of less memory no word is said.
_MENTIONED = 2 << 30


def reading(files: Sequence[str | None], otherwise: str) -> str:
    """What the step that reads these files is called: with the memory it takes, where that is much."""
    size = sum(_text_size(Path(file).expanduser()) for file in files if file)
    if size * _TIMES < _MENTIONED:
        return otherwise
    free = _free_memory()
    told = f", {free / 1e9:.0f} GB are free" if free else ""
    return f"{otherwise}: about {size * _TIMES / 1e9:.0f} GB of memory{told}"


def _text_size(path: Path) -> int:
    if path.is_dir():
        return sum(_text_size(one) for one in path.iterdir() if one.is_file())
    packed = path.suffix.lower() not in (".csv", ".tsv", ".txt")
    return path.stat().st_size * (_PACKED if packed else 1) if path.is_file() else 0


def _free_memory() -> int | None:
    """Bytes that the system could give, where it says so (Linux)."""
    path = Path("/proc/meminfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None


def read_own_table(file: str, forms: Sequence[Form], remedy: str) -> RawTable:
    """A file, or the files of a folder or archive, as one table."""
    found = read_raw_files(Path(file).expanduser(), forms, remedy)
    return stacked([read_table(raw.name, bytes(raw.body)) for raw in found.inputs])  # type: ignore[arg-type]


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
    return RawTable(
        name, columns, sum(t.n_rows for t in tables), 1, tuple(n for t in tables for n in t.notes)
    )


def days_in(table: RawTable, time: str | None, wanted: str | None) -> FloatArray:
    """(N,) the time column in days, NaN where unknown; DataError where it holds no dates."""
    if time is None:
        return np.full(table.n_rows, np.nan)
    column, _ = infer(time, table.columns[time], wanted)
    if column.kind != "date":
        remedy = f"name another task.time, or say task.columns.{time}=date:%d/%m/%Y"
        raise DataError("holds no dates", file=table.name, field=time, remedy=remedy)
    days, _, _ = values_of(column, table)
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
    middle = float(np.sort(known)[len(known) // 2])
    return int(middle) if middle.is_integer() else float(f"{middle:.6g}")


def betrayals(table: Table, y: FloatArray, classes: Sequence[str]) -> list[str]:
    """What to warn of: columns that rank a class almost without fault by themselves, known rows only."""
    notes = []
    for c, name in enumerate(classes):
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
