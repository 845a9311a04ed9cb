"""OpenAPI: the description of ``POST /predict`` from the loaded task, with examples that really work."""

from __future__ import annotations

import json
from typing import Any

from ehrbench.core.task import Task

RAW_RECORD = "RawRecord"


def example_body(task: Task) -> bytes:
    """The task's example in the publisher's own format."""
    body = task.example().body
    return body if isinstance(body, bytes) else json.dumps(body, indent=2).encode()


def example_json(task: Task) -> Any:
    """The example that the task's JSON schema holds."""
    schema = task.raw_schema()
    return schema["example"] if "example" in schema else schema["examples"][0]


def describe_predict(description: dict[str, Any], task: Task, *, rows: bool) -> dict[str, Any]:
    """``description`` (of the app) with the task's request bodies added; changes it.

    rows: whether a row of a CSV is a record, so that batches of it are read.
    """
    components = description.setdefault("components", {}).setdefault("schemas", {})
    components[RAW_RECORD] = _moved(task.raw_schema(), f"#/components/schemas/{RAW_RECORD}")
    record = {"$ref": f"#/components/schemas/{RAW_RECORD}"}
    several = {
        "type": "object",
        "properties": {"records": {"type": "array", "items": record, "minItems": 1}},
        "required": ["records"],
        "additionalProperties": False,
    }
    files = {"type": "array", "items": {"type": "string", "format": "binary"}}
    one = example_json(task)
    description["paths"]["/predict"]["post"]["requestBody"] = {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"oneOf": [record, several]},
                "examples": {
                    "one": {"summary": "One record", "value": one},
                    "several": {"summary": "Several records", "value": {"records": [one, one]}},
                },
            },
            **_forms(task),
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"file": files}, "required": ["file"]}
            },
        },
    }
    batch = description["paths"]["/predict/batch"]["post"]["requestBody"]["content"]
    line = json.dumps(one, ensure_ascii=False, separators=(",", ":"))
    _show(batch["application/x-ndjson"], "Two records, a line each", f"{line}\n{line}\n")
    if rows:
        _show(batch["text/csv"], "A table", example_body(task).decode())
    else:
        del batch["text/csv"]
    return description


def _show(content: dict[str, Any], summary: str, value: str) -> None:
    content["examples"] = {"example": {"summary": summary, "value": value}}


def _forms(task: Task) -> dict[str, Any]:
    """Media type -> content, of each form; the example goes with the first where it is text."""
    found: dict[str, Any] = {}
    for form in task.forms:
        for kind in form.media_types:
            if kind.startswith("text/"):
                shown = {"file": {"summary": form.title.capitalize(), "value": example_body(task).decode()}}
                examples = {"examples": shown} if form is task.forms[0] else {}
                found[kind.replace("*", "plain")] = {"schema": {"type": "string"}, **examples}
            else:
                found[kind] = {"schema": {"type": "string", "format": "binary"}}
    return found


def _moved(schema: Any, root: str) -> Any:
    """``schema`` with its own references (``#/…``) made relative to ``root``, where it is put."""
    if isinstance(schema, dict):
        return {
            key: root + value[1:]
            if key == "$ref" and isinstance(value, str) and value[:2] == "#/"
            else _moved(value, root)
            for key, value in schema.items()
            if key != "$schema"
        }
    return [_moved(item, root) for item in schema] if isinstance(schema, list) else schema
