"""Posted series: the JSON form of a record of measurements, to the tables that files of them are read to.

{"record_id": "7", "descriptors": {"age": 54, "ward": "icu"},
 "events": [{"time": 0.5, "variable": "HR", "value": 73}, …]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ehrbench.core.errors import DataError
from ehrbench.tasks.columns import Column
from ehrbench.tasks.long_form import LongForm, clock_minute
from ehrbench.tasks.names import RECORD_ID_SCHEMA, id_of
from ehrbench.tasks.numbers import of_json, shown
from ehrbench.tasks.own_cells import cell_schema, posted_cells
from ehrbench.tasks.stays import Vocabulary
from ehrbench.tasks.tabular_files import RawTable

_FIELDS = ("record_id", "descriptors", "events")
_EVENT = ("time", "variable", "value")
_GIVE = f"give {', '.join(_EVENT)}"
_TIMES = 'hours since the start as a number, or "HH:MM"'


def posted_tables(
    form: LongForm, columns: Sequence[Column], variables: tuple[str, ...], name: str, body: Mapping[str, Any]
) -> tuple[RawTable, RawTable]:
    """Measurements in ``form.posted()``, and one row of descriptors; DataError for the first bad field."""
    record = id_of(body, name)
    for key in body:
        if key not in _FIELDS:
            raise DataError(
                "is not a field of a record", record=record, field=key, remedy=f"give {', '.join(_FIELDS)}"
            )
    descriptors, events = body.get("descriptors", {} if not columns else None), body.get("events")
    if not isinstance(descriptors, Mapping):
        remedy = f"give {', '.join(column.name for column in columns)}; null: unknown"
        raise DataError("is missing or not an object", record=record, field="descriptors", remedy=remedy)
    if not isinstance(events, list | tuple):
        remedy = "give a list, empty where nothing was measured"
        raise DataError("is missing or not a list", record=record, field="events", remedy=remedy)
    known = {column.name for column in columns}
    for key in descriptors:
        if key not in known:
            remedy = f"one of {', '.join(sorted(known))}" if known else "there are none"
            raise DataError(
                "is not a known descriptor", record=record, field=f"descriptors.{key}", remedy=remedy
            )
    try:
        row = posted_cells(columns, descriptors, record)
    except DataError as error:
        where = f"descriptors.{error.field}"
        raise DataError(error.problem, record=record, field=where, remedy=error.remedy) from None
    read = [_event(event, i, frozenset(variables), record) for i, event in enumerate(events)]
    ids = pa.array([record] * len(read), pa.string())
    posted = form.posted()
    cells = {
        posted.id: ids,
        posted.time: pa.array([minute for minute, _, _ in read], pa.float64()),
        posted.variable: pa.array([variable for _, variable, _ in read], pa.string()),
        posted.value: pa.array([value for _, _, value in read], pa.float64()),
    }
    return (
        RawTable(record, cells, len(read), 1, posted=True),
        RawTable(record, {**row, posted.id: pa.array([record])}, 1, 1, posted=True),
    )


def _event(event: Any, i: int, variables: frozenset[str], record: str) -> tuple[float, str, float]:
    """Minute, variable and value of one event."""

    def fault(place: str, problem: str, remedy: str = _GIVE) -> DataError:
        return DataError(problem, record=record, field=f"events[{i}]{place}", remedy=remedy)

    if not isinstance(event, Mapping):
        raise fault("", "is not an object")
    for key in _EVENT:
        if key not in event:
            raise fault(f".{key}", "is missing")
    for key in event:
        if key not in _EVENT:
            raise fault(f".{key}", "is not a field of an event")
    variable = event["variable"]
    if not isinstance(variable, str) or variable not in variables:
        raise fault(".variable", f"{shown(variable)} is not a known variable", "see the schema")
    time, value = event["time"], of_json(event["value"])
    hours = of_json(time)
    minute = clock_minute(time) if isinstance(time, str) else np.nan if hours is None else round(hours * 60)
    if not 0 <= minute < 2**31:
        raise fault(".time", f"{shown(time)} is no time", _TIMES)
    if value is None:
        raise fault(".value", f"{shown(event['value'])} is not a number", "give a JSON number")
    return float(minute), variable, value


def series_schema(
    columns: Sequence[Column], vocabulary: Vocabulary, example: Mapping[str, Any]
) -> dict[str, Any]:
    """JSON schema of one record."""
    told = [
        f"{m.name}" + f" ({m.unit})" * bool(m.unit) + f", {m.low:g} to {m.high:g}" * bool(np.isfinite(m.low))
        for m in vocabulary.series
    ]
    return {
        "type": "object",
        "title": "Record",
        "description": "The measurements of one record, and what does not change.",
        "required": ["descriptors", "events"] if columns else ["events"],
        "additionalProperties": False,
        "properties": {
            "record_id": RECORD_ID_SCHEMA,
            "descriptors": {
                "type": "object",
                "required": [column.name for column in columns],
                "additionalProperties": False,
                "properties": {column.name: cell_schema(column) for column in columns},
            },
            "events": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": list(_EVENT),
                    "additionalProperties": False,
                    "properties": {
                        "time": {"type": ["number", "string"], "description": _TIMES},
                        "variable": {
                            "type": "string",
                            "enum": [m.name for m in vocabulary.series],
                            "description": "; ".join(told),
                        },
                        "value": {"type": "number"},
                    },
                },
            },
        },
        "examples": [dict(example)],
    }
