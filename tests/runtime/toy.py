"""A toy task with every target kind and any number of units a record, and its two featurizers.

A record is an id and k rows of three numbers, one unit a row. JSON: ``{"id": "p1", "rows": [[1, 2, null]]}``;
text: a line ``id,a,b,c`` a row. ``install`` puts the classes where bundles may import from.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from ehrbench.core.digest import digest
from ehrbench.core.errors import DataError
from ehrbench.core.featurizer import Featurizer
from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.task import Form, Parsed, RawInput, Task
from ehrbench.core.views import Sequence as SequenceView
from ehrbench.core.views import Table, View

COLUMNS = ("a", "b", "c")
TASK, TABLE, SEQUENCE = (
    "ehrbench.tasks.toy.Toy",
    "ehrbench.features.toy.ToyTable",
    "ehrbench.features.toy.ToySequence",
)
CLASSES = {"binary": ("death",), "multilabel": ("fever", "shock"), "multiclass": ("N", "S", "V")}


def install() -> None:
    """Make the classes importable under ``ehrbench.tasks.toy`` and ``ehrbench.features.toy``."""
    for package in ("tasks", "features"):
        module = ModuleType(f"ehrbench.{package}.toy")
        module.__dict__.update(Toy=Toy, ToyTable=ToyTable, ToySequence=ToySequence, NotATask=dict)
        sys.modules[module.__name__] = module


@dataclass(frozen=True, eq=False)
class ToyPayload:
    rows: tuple[np.ndarray, ...]  # N of (k, 3)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: np.ndarray) -> ToyPayload:
        return ToyPayload(tuple(self.rows[i] for i in index))

    def digests(self) -> np.ndarray:
        return np.array([digest(row) for row in self.rows])


def toy_records(rows: Sequence[np.ndarray], ids: Sequence[str] | None = None) -> Records:
    ids = [f"p{n}" for n in range(len(rows))] if ids is None else ids
    return Records(
        ids=np.array(ids, dtype=str),
        groups=np.array(ids, dtype=str),
        payload=ToyPayload(tuple(rows)),
        n_units=np.array([len(row) for row in rows], dtype=np.int64),
        flags={"no_measurements": np.array([bool(np.isnan(row).all()) for row in rows])},
    )


class Toy(Task):
    """Toy rows."""

    name = "toy"
    metric, metrics = "auroc", ("auroc",)
    forms = (Form("toy rows", (".txt",), ("text/*",)),)

    def __init__(self, kind: str = "binary") -> None:
        self.target = Target(kind, CLASSES[kind])  # type: ignore[arg-type]

    def parse(self, inputs: Sequence[RawInput], *, strict: bool) -> Parsed:
        ids, rows = [], []
        for raw in inputs:
            record, content = _json(raw) if isinstance(raw.body, Mapping) else _text(raw)
            ids.append(record)
            rows.append(np.array(content, dtype=np.float32).reshape(-1, 3))
        return Parsed(toy_records(rows, ids), n_rows=len(ids))

    def raw_schema(self) -> dict[str, Any]:
        row = {"type": "array", "items": {"type": ["number", "null"]}}
        return {
            "type": "object",
            "properties": {
                "id": {"type": "string"},
                "rows": {"type": "array", "items": {"$ref": "#/$defs/row"}},
            },
            "required": ["id", "rows"],
            "$defs": {"row": row},
            "example": {"id": "p7", "rows": [[0.5, None, -1.0]]},
        }

    def example(self) -> RawInput:
        return RawInput("p7.txt", b"p7,0.5,,-1\n")

    def describe(self, records: Records) -> Table:
        assert isinstance(records.payload, ToyPayload)
        values = np.array([row.mean(axis=0) for row in records.payload.rows], dtype=np.float32)
        return Table(values.reshape(-1, 3), COLUMNS)


def _json(raw: RawInput) -> tuple[str, list[list[float]]]:
    assert isinstance(raw.body, Mapping)
    for name in raw.body.keys() - {"id", "rows"}:
        raise DataError("unknown field", file=raw.name, field=name, remedy="give id and rows")
    for name in ("id", "rows"):
        if name not in raw.body:
            raise DataError("missing", file=raw.name, field=name)
    return str(raw.body["id"]), [
        [_number(raw.name, raw.body["id"], COLUMNS[i], x) for i, x in enumerate(r)] for r in raw.body["rows"]
    ]


def _text(raw: RawInput) -> tuple[str, list[list[float]]]:
    assert isinstance(raw.body, bytes)
    content, record = [], ""
    try:
        lines = raw.body.decode().splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"is no text ({error})", file=raw.name, remedy="give lines of text") from None
    for line in lines:
        record, *cells = line.split(",")
        if len(cells) != len(COLUMNS):
            raise DataError(f"{len(cells)} values in a line", file=raw.name, record=record, remedy="give 3")
        content.append([_number(raw.name, record, c, x or None) for c, x in zip(COLUMNS, cells, strict=True)])
    return record, content


def _number(file: str, record: object, field: str, value: object) -> float:
    try:
        return np.nan if value is None else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        problem = f"{json.dumps(value)} is not a number"
        raise DataError(problem, file=file, record=record, field=field, remedy="correct it") from None


class ToyTable(Featurizer):
    """Rows as they are; ``complete`` puts the training mean where a number is missing."""

    def __init__(self, complete: bool = False) -> None:
        self.complete, self._mean = complete, np.zeros(3, np.float32)

    def settings(self) -> dict[str, Any]:
        return {"complete": self.complete}

    def rows(self, records: Records) -> View:
        return Table(np.concatenate(records.payload.rows), COLUMNS)  # type: ignore[attr-defined]

    def fit_rows(self, view: View) -> None:
        self._mean = np.nanmean(view.values, axis=0)  # type: ignore[attr-defined]

    def apply(self, view: View) -> View:
        values = view.values  # type: ignore[attr-defined]
        return Table(np.where(np.isnan(values), self._mean, values), COLUMNS) if self.complete else view

    def state(self) -> dict[str, np.ndarray]:
        return {"mean": self._mean}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self._mean = state["mean"]


class ToySequence(Featurizer):
    """Each row as a sequence of three steps of one channel."""

    def settings(self) -> dict[str, Any]:
        return {}

    def rows(self, records: Records) -> View:
        values = np.concatenate(records.payload.rows)[:, :, None]  # type: ignore[attr-defined]
        mask = np.isfinite(values).astype(np.float32)
        hours = np.tile(np.arange(3, dtype=np.float32), (len(values), 1))
        return SequenceView(np.nan_to_num(values), mask, hours, np.zeros((len(values), 0), np.float32))

    def fit_rows(self, view: View) -> None: ...

    def apply(self, view: View) -> View:
        return view

    def state(self) -> dict[str, np.ndarray]:
        return {}

    def restore(self, state: dict[str, np.ndarray]) -> None: ...
