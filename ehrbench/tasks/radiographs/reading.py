"""Reading: raw inputs, files or JSON, to pictures; one file is one record, JSON may hold several views."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from ehrbench.core.errors import DataError
from ehrbench.core.records import Records
from ehrbench.core.task import Form, Parsed, RawInput, Skipped
from ehrbench.core.types import IntArray
from ehrbench.features.pictures import Pictures
from ehrbench.tasks.names import RECORD_ID_SCHEMA, id_of
from ehrbench.tasks.numbers import shown
from ehrbench.tasks.radiographs.decoding import REMEDY, decoded

FORMS = (
    Form("a PNG image", (".png",), ("image/png",)),
    Form("a JPEG image", (".jpg", ".jpeg"), ("image/jpeg",)),
    Form("a DICOM file", (".dcm", ".dicom"), ("application/dicom",)),
)
#: Most views of one record in JSON.
MOST_VIEWS = 16
#: Deviation (of 255) below which an image shows nothing.
BLANK = 2.0

T = TypeVar("T")
R = TypeVar("R")


def parse_pictures(inputs: Sequence[RawInput], size: int, *, strict: bool) -> Parsed:
    """Records of images drawn out to ``size`` pixels; see ``core.task.Task.parse``."""

    def one(raw: RawInput) -> tuple[str, list[IntArray]] | Skipped:
        try:
            if isinstance(raw.body, Mapping):
                return _of_json(raw.name, raw.body, size)
            return _stem(raw.name), [decoded(raw.name, bytes(raw.body), size)]
        except DataError as error:
            if strict:
                raise
            return Skipped(raw.name, _stem(raw.name), str(error.field or "image"), error.problem)

    found = list(in_parallel(one, inputs))
    good = [record for record in found if not isinstance(record, Skipped)]
    skipped = tuple(record for record in found if isinstance(record, Skipped))
    images = [image for _, of_record in good for image in of_record]
    pixels = np.stack(images) if images else np.zeros((0, size, size), dtype=np.uint8)
    n_images = np.array([len(of_record) for _, of_record in good], dtype=np.int64)
    ids = [name for name, _ in good]
    records = picture_records(ids, ids, Pictures(pixels, np.arange(len(pixels)), n_images))
    return Parsed(records, skipped, len(inputs), len(skipped))


def picture_records(ids: Sequence[str], groups: Sequence[str], payload: Pictures, **columns: Any) -> Records:
    """Records of one unit each, flagged where no image of theirs shows anything."""
    shows = np.array([payload.pixels[image].std() >= BLANK for image in payload.images], dtype=np.int64)
    starts = np.cumsum(payload.n_images) - payload.n_images
    blank = np.add.reduceat(shows, starts) == 0 if len(payload) else np.zeros(0, dtype=bool)
    return Records(
        ids=np.array(ids, dtype=str),
        groups=np.array(groups, dtype=str),
        payload=payload,
        n_units=np.ones(len(payload), dtype=np.int64),
        flags={"blank_image": blank},
        **columns,
    )


def in_parallel(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """``function`` of each, in order; decoders let go of Python's lock, so threads are enough."""
    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        yield from pool.map(function, items)


def record_schema() -> dict[str, Any]:
    """JSON schema of one record, without its example."""
    return {
        "type": "object",
        "title": "Chest radiograph",
        "description": "One or several views of one examination; their scores are averaged.",
        "required": ["images"],
        "additionalProperties": False,
        "properties": {
            "record_id": RECORD_ID_SCHEMA,
            "images": {
                "type": "array",
                "minItems": 1,
                "maxItems": MOST_VIEWS,
                "items": {
                    "type": "string",
                    "contentEncoding": "base64",
                    "description": "The bytes of a PNG, JPEG or DICOM file.",
                },
            },
        },
    }


def _of_json(name: str, body: Mapping[str, Any], size: int) -> tuple[str, list[IntArray]]:
    for key in body:
        if key not in ("record_id", "images"):
            raise DataError(
                "is not a known field", record=name, field=key, remedy="give record_id and images"
            )
    record, images = id_of(body, name), body.get("images")
    if not isinstance(images, list) or not 1 <= len(images) <= MOST_VIEWS:
        problem = f"is not a list of 1 to {MOST_VIEWS} images"
        raise DataError(problem, record=record, field="images", remedy=f"{REMEDY}, each in base64")
    found = []
    for k, text in enumerate(images):
        field = f"images[{k}]"
        try:
            content = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
        except (binascii.Error, ValueError):
            content = b""
        if not content:
            problem = f"{shown(text)} is not a file in base64"
            raise DataError(problem, record=record, field=field, remedy=f"{REMEDY}, each in base64")
        try:
            found.append(decoded(name, content, size))
        except DataError as error:
            at = field if error.field in (None, "image") else f"{field}.{error.field}"
            raise DataError(error.problem, record=record, field=at, remedy=error.remedy) from error
    return record, found


def _stem(name: str) -> str:
    file = name.rsplit("/", 1)[-1]
    endings = [ending for form in FORMS for ending in form.endings if file.lower().endswith(ending)]
    return file[: -len(endings[0])] if endings else file
