"""Own cells: what a person's own columns say of each record, in files and in posted records alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ehrbench.core.errors import DataError
from ehrbench.core.records import Payload, Records
from ehrbench.core.task import Skipped
from ehrbench.core.types import BoolArray, FloatArray, IntArray, StrArray
from ehrbench.tasks.columns import SHOWN, Column, values_of
from ehrbench.tasks.names import NAME_REMEDY, fault_of_name
from ehrbench.tasks.numbers import of_json, shown
from ehrbench.tasks.own_labels import label_text
from ehrbench.tasks.tabular_files import RawTable

REMEDY = "give the columns of the training table; GET /model of a server lists them"
#: A category is a subgroup, too, where it has at most so many levels.
MOST_SUBGROUPS = 8
_TYPES = {"number": ["number", "null"], "flag": ["boolean", "number", "string", "null"]}
_ABOUT = {"number": "number", "flag": "yes or no", "category": "one of a few texts"}


def read_cells(
    columns: Sequence[Column], table: RawTable, *, strict: bool
) -> tuple[FloatArray, dict[str, tuple[str, ...]], dict[int, Skipped]]:
    """A table's cells as numbers (N, F), the levels of its categories, and the rows that cannot be read.

    Raises DataError for a column that is not there; when ``strict``, for the first cell that is wrong.
    """
    for column in columns:
        if column.name not in table.columns:
            raise DataError("has no such column", file=table.name, field=column.name, remedy=REMEDY)
    values = np.empty((table.n_rows, len(columns)), dtype=np.float32)
    levels: dict[str, tuple[str, ...]] = {}
    faults: dict[int, Skipped] = {}
    for j, column in enumerate(columns):
        values[:, j], found, wrong = values_of(column, table)
        if column.kind == "category":
            levels[column.name] = found
        for i in np.flatnonzero(wrong).tolist():
            cell = shown(table.columns[column.name][i].as_py())
            problem = f"{cell} is no {column.kind}" + (f" ({column.format})" if column.format else "")
            if strict:
                raise table.fault(i, column.name, problem, REMEDY)
            faults.setdefault(i, Skipped(*table.place(i), column.name, problem))
    return values, levels, faults


def subgroups_of(
    columns: Sequence[Column], values: FloatArray, levels: Mapping[str, tuple[str, ...]]
) -> dict[str, StrArray]:
    """Flags, and categories of few levels, by their texts: name -> (N,)."""
    found = {}
    for j, column in enumerate(columns):
        cells = values[:, j]
        known = ~np.isnan(cells)
        names: Sequence[str] = ("no", "yes")
        if column.kind == "category":
            names = [one if one in column.levels else "other" for one in levels.get(column.name, ())]
        if column.kind == "flag" or (column.kind == "category" and len(column.levels) <= MOST_SUBGROUPS):
            texts = np.full(len(cells), "unknown", dtype=f"<U{max([7, *map(len, names)])}")
            texts[known] = np.array(names, dtype=str)[cells[known].astype(np.int64)] if len(names) else ""
            found[column.name] = texts
    return found


def unseen_in(
    columns: Sequence[Column], values: FloatArray, levels: Mapping[str, tuple[str, ...]]
) -> BoolArray:
    """(N,) records with a level that training never had; models take all such for one, "other"."""
    unseen = np.zeros(len(values), dtype=bool)
    for j, column in enumerate(columns):
        if column.kind == "category" and len(column.levels) < SHOWN:  # all of them are known
            of = levels.get(column.name, ())
            unseen |= np.isin(values[:, j], [code for code, one in enumerate(of) if one not in column.levels])
    return unseen


def end_to_end(parts: Sequence[Records], payload: Payload) -> Records:
    """Records of several inputs, one unit each and without labels; their payloads are joined already."""
    return Records(
        ids=np.concatenate([part.ids for part in parts]),
        groups=np.concatenate([part.groups for part in parts]),
        payload=payload,
        n_units=np.ones(len(payload), dtype=np.int64),
        subgroups={k: np.concatenate([part.subgroups[k] for part in parts]) for k in parts[0].subgroups},
        flags={k: np.concatenate([part.flags[k] for part in parts]) for k in parts[0].flags},
    )


def posted_cells(columns: Sequence[Column], body: Mapping[str, Any], name: str) -> dict[str, pa.Array]:
    """A JSON object as cells of one row; DataError for fields that are missing or impossible."""
    cells: dict[str, pa.Array] = {}
    for column in columns:
        if column.name not in body:
            raise DataError("is missing", record=name, field=column.name, remedy=f"{REMEDY}; null: unknown")
        value = body[column.name]
        if not (value is None or isinstance(value, str | bool) or of_json(value) is not None):
            raise DataError(f"{shown(value)} is no cell", record=name, field=column.name, remedy=REMEDY)
        if column.kind == "number" and isinstance(value, bool):
            raise DataError(f"{shown(value)} is no number", record=name, field=column.name, remedy=REMEDY)
        text = value is not None and not (column.kind == "number" and not isinstance(value, str))
        cells[column.name] = pa.array(
            [str(value).lower() if isinstance(value, bool) else str(value) if text else value],
            pa.string() if text or value is None else pa.float64(),
        )
    return cells


def cell_schema(column: Column) -> dict[str, Any]:
    """JSON schema of a column's cell."""
    about = _ABOUT.get(column.kind, f"date, {column.format or 'ISO 8601'}")
    one: dict[str, Any] = {"type": _TYPES.get(column.kind, ["string", "number", "null"])}
    one["description"] = about + (f", {column.unit}" if column.unit else "")
    return one | ({"examples": list(column.levels)} if column.levels else {})


def named_in(table: RawTable, column: str | None, strict: bool, faults: dict[int, Skipped]) -> list[str]:
    """The name in each row (N,), [] where there is no such column; a fault that is no error joins ``faults``.

    Raises DataError for an empty cell, and when ``strict`` for the first that is no name.
    """
    if not column or column not in table.columns:
        return []
    names = []
    for i, cell in enumerate(table.columns[column].to_pylist()):
        name = "" if cell is None else label_text(cell)
        problem = "is empty" if cell is None else fault_of_name(name)
        if problem and (strict or cell is None):
            raise table.fault(i, column, problem, "fill it in" if cell is None else NAME_REMEDY)
        if problem:
            faults.setdefault(i, Skipped(*table.place(i), column, problem))
        names.append(name)
    return names


def names_in(table: RawTable, column: str) -> StrArray:
    """(N,) the name in each row; DataError for the first that is none."""
    return np.array(named_in(table, column, True, {}), dtype=str)


def check_once(table: RawTable, names: StrArray, remedy: str, rows: IntArray | None = None) -> None:
    """DataError for the first of ``names`` (N,) that stands twice; rows: theirs, where not all have one."""
    _, first, number = np.unique(names, return_index=True, return_inverse=True)
    for again in np.flatnonzero(first[number] != np.arange(len(names)))[:1].tolist():
        both = np.array([first[number[again]], again])
        before, at = (both if rows is None else rows[both]).tolist()
        file, row = table.place(at)
        problem = f"stands there twice, in {table.where(before)} too"
        raise DataError(problem, file=file, record=f"{names[again]}, {row}", remedy=remedy)
