"""The JSON form of a PhysioNet 2012 record, as the server takes it, to the same columns as the text form.

{"record_id": "132539",
 "descriptors": {"Age": 54, "Gender": 0, "Height": null, "ICUType": 4, "Weight": null},
 "events": [{"time": "00:07", "parameter": "HR", "value": 73}, …]}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from ehrbench.core.errors import DataError
from ehrbench.core.task import Skipped
from ehrbench.tasks.names import NAME_REMEDY, RECORD_ID_SCHEMA, fault_of_name
from ehrbench.tasks.numbers import of_json, shown
from ehrbench.tasks.physionet2012.cleaning import DESCRIPTORS, SERIES
from ehrbench.tasks.physionet2012.record_text import (
    CODED,
    DESCRIPTOR_NAMES,
    MINUTES,
    SERIES_NAMES,
    TIME,
    problem_of,
)

_EVENT = "give time, parameter and value"
_MINUTES = {text.decode(): minute for text, minute in MINUTES.items()}
_CODES = {name: code for code, name in enumerate(SERIES_NAMES)}


@dataclass
class JsonRecord:
    """One record's rows: descriptors by name, and (minute, code, value) of each event."""

    name: str
    record_id: str
    descriptors: dict[str, float] = field(default_factory=dict)
    events: list[tuple[int, int, float]] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    n_rows: int = 0
    broken: bool = False


class _Fault(Exception):
    def __init__(self, place: str, problem: str, remedy: str = "") -> None:
        self.place, self.problem, self.remedy = place, problem, remedy


def read_json(name: str, body: Mapping[str, Any], *, strict: bool) -> JsonRecord:
    """One JSON record; DataError at the first fault when ``strict``, otherwise faults are listed.

    A fault of the whole (no descriptors, events that are no list) leaves the record ``broken``.
    """
    record_id = body.get("record_id")
    record = JsonRecord(name, name if record_id is None or fault_of_name(record_id) else str(record_id))

    def fault(error: _Fault) -> None:
        if strict:
            raise DataError(error.problem, record=record.record_id, field=error.place, remedy=error.remedy)
        record.skipped.append(Skipped(name, record.record_id, error.place, error.problem))

    try:
        descriptors, events = _whole(body)
    except _Fault as error:
        fault(error)
        record.broken, record.n_rows = True, 1
        return record
    record.n_rows = len(descriptors) + len(events)
    for key, raw in descriptors.items():
        try:
            record.descriptors[key] = _descriptor(key, raw)
        except _Fault as error:
            fault(error)
    for i, event in enumerate(events):
        try:
            record.events.append(_event(event))
        except _Fault as error:
            error.place = f"events[{i}]{error.place}"
            fault(error)
    return record


def _whole(body: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[Any]]:
    for key in body:
        if key not in ("record_id", "descriptors", "events"):
            raise _Fault(str(key), "is not a field of a record", "give record_id, descriptors and events")
    record_id = body.get("record_id")
    if record_id is not None and (problem := fault_of_name(record_id)):
        raise _Fault("record_id", problem, NAME_REMEDY)
    descriptors, events = body.get("descriptors"), body.get("events")
    if not isinstance(descriptors, Mapping):
        raise _Fault("descriptors", "is missing or not an object", f"give {', '.join(DESCRIPTOR_NAMES)}")
    if not isinstance(events, list | tuple):
        raise _Fault("events", "is missing or not a list", "give a list, empty where nothing was measured")
    return descriptors, list(events)


def _descriptor(key: str, raw: Any) -> float:
    if key not in DESCRIPTOR_NAMES:
        raise _Fault(
            f"descriptors.{key}", "is not a known descriptor", f"one of {', '.join(DESCRIPTOR_NAMES)}"
        )
    value = -1.0 if raw is None else _number(f"descriptors.{key}", raw)
    if problem := problem_of(key, value):
        raise _Fault(f"descriptors.{key}", problem, "null or -1 where unknown")
    return value


def _event(event: Any) -> tuple[int, int, float]:
    """Minute, code and value; places of faults are those within the event."""
    if type(event) is not dict and not isinstance(event, Mapping):
        raise _Fault("", "is not an object", _EVENT)
    try:
        time, parameter, value = event["time"], event["parameter"], event["value"]
    except KeyError as error:
        raise _Fault(f".{error.args[0]}", "is missing", _EVENT) from None
    if len(event) > 3:
        unknown = next(key for key in event if key not in ("time", "parameter", "value"))
        raise _Fault(f".{unknown}", "is not a field of an event", _EVENT)
    code = _CODES.get(parameter) if isinstance(parameter, str) else None
    if code is None:
        raise _Fault(".parameter", f"{shown(parameter)} is not a known parameter", "see the schema")
    minute = _MINUTES.get(time) if isinstance(time, str) else None
    if minute is None and isinstance(time, str) and TIME.fullmatch(time.encode(errors="replace")):
        raise _Fault(".time", f"{shown(time)} is later than 48:00", "give the first 48 hours")
    if minute is None:
        raise _Fault(".time", f"{shown(time)} is not a time HH:MM", "hours and minutes since admission")
    number = value if type(value) is float and isfinite(value) else _number(".value", value)
    if parameter in CODED and (problem := problem_of(parameter, number)):
        raise _Fault(".value", problem, "see the publisher's codes")
    return minute, code, number


def _number(place: str, raw: Any) -> float:
    if (number := of_json(raw)) is None:
        raise _Fault(place, f"{shown(raw)} is not a number", "give a JSON number")
    return number


def record_schema() -> dict[str, Any]:
    """JSON schema of one record, without its example."""
    number_or_null = {"type": ["number", "null"]}
    return {
        "type": "object",
        "title": "ICU stay",
        "description": "The first hours of one intensive-care stay, as PhysioNet 2012 gives it.",
        "required": ["descriptors", "events"],
        "additionalProperties": False,
        "properties": {
            "record_id": RECORD_ID_SCHEMA,
            "descriptors": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    m.name: {**number_or_null, "description": f"{m.meaning} ({m.unit}); null or -1: unknown"}
                    for m in DESCRIPTORS
                },
            },
            "events": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["time", "parameter", "value"],
                    "additionalProperties": False,
                    "properties": {
                        "time": {
                            "type": "string",
                            "pattern": "^[0-9]{2}:[0-5][0-9]$",
                            "description": "HH:MM since admission, 00:00 to 48:00.",
                        },
                        "parameter": {
                            "type": "string",
                            "enum": list(SERIES_NAMES),
                            "description": "; ".join(f"{m.name}: {m.meaning} ({m.unit})" for m in SERIES),
                        },
                        "value": {"type": "number"},
                    },
                },
            },
        },
    }
