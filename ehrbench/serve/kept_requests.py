"""Kept requests: what of one request waits to be written, and the rows that it becomes (``store``)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
from sqlalchemy import Connection, insert

from ehrbench.core.target import Target
from ehrbench.core.task import RawInput
from ehrbench.core.types import BoolArray, FloatArray, IntArray
from ehrbench.serve.kept_tables import described, inputs, predictions, utc_now
from ehrbench.serve.served import Served


@dataclass(frozen=True, eq=False)
class KeptPrediction:
    """One predicted record. id: of all its units, each of which appends its number (``unit_id``).

    units: (U,), probabilities and called: (U, C). source: number of the posted body that it came in; place:
        its own among that body's records. places: (F,) bins of its described values, (0,) without a profile.
    """

    id: str
    record: str
    patient: str
    units: IntArray
    probabilities: FloatArray
    called: BoolArray
    source: int
    place: int
    places: IntArray


@dataclass(frozen=True, eq=False)
class KeptRequest:
    """What one request predicted, and by what; inputs: the posted bodies, empty where they are not kept."""

    token: str
    request_id: str
    alias: str
    version: str
    task: str
    target: Target
    predictions: Sequence[KeptPrediction]
    inputs: Sequence[RawInput]
    made_at: datetime

    @cached_property
    def bodies(self) -> list[tuple[str, bytes]]:
        """Kind and bytes of each posted body."""
        return [
            ("file", raw.body)
            if isinstance(raw.body, bytes)
            else ("json", json.dumps(raw.body, ensure_ascii=False).encode())
            for raw in self.inputs
        ]

    @cached_property
    def n_bytes(self) -> int:
        """About what it takes while it waits."""
        arrays = sum(
            one.nbytes for p in self.predictions for one in (p.units, p.probabilities, p.called, p.places)
        )
        return 500 * len(self.predictions) + arrays + sum(len(body) for _, body in self.bodies)


def kept_request(served: Served, inputs: Sequence[RawInput], request_id: str) -> KeptRequest:
    """What is kept of one request; ``inputs`` empty: not what was posted."""
    records, bundle, first = served.records, served.bundle, np.cumsum(served.records.n_units)
    places: IntArray = np.zeros((len(records), 0), dtype=np.int16)
    if bundle.profile is not None:
        places = bundle.profile.places(bundle.task.describe(records))
    parts = [slice(end - n, end) for end, n in zip(first, records.n_units, strict=True)]
    kept = [
        KeptPrediction(
            id=f"{served.token}-{n}",
            record=str(records.ids[n]),
            patient=str(records.groups[n]),
            units=records.unit_number[part],
            probabilities=served.prediction.probabilities[part],
            called=served.called[part],
            source=served.sources[n],
            place=n - served.sources.index(served.sources[n]),
            places=places[n],
        )
        for n, part in enumerate(parts)
    ]
    return KeptRequest(
        token=served.token,
        request_id=request_id,
        alias=served.deployment.alias,
        version=bundle.digest,
        task=bundle.task.name,
        target=bundle.manifest.target,
        predictions=kept,
        inputs=inputs,
        made_at=utc_now(),
    )


def insert_requests(connection: Connection, requests: Sequence[KeptRequest]) -> None:
    """Write down what was kept, in order."""
    bodies = [row for request in requests for row in _input_rows(request)]
    rows = [row for request in requests for row in _prediction_rows(request)]
    if bodies:
        connection.execute(insert(inputs), bodies)
    if rows:
        connection.execute(insert(predictions), rows)
        connection.execute(insert(described), _described_rows(requests))


def _input_rows(request: KeptRequest) -> list[dict[str, Any]]:
    named = zip(request.inputs, request.bodies, strict=True)
    return [
        {
            "id": f"{request.token}-{number}",
            "made_at": request.made_at,
            "name": raw.name,
            "kind": kind,
            "body": body,
        }
        for number, (raw, (kind, body)) in enumerate(named)
    ]


def _prediction_rows(request: KeptRequest) -> list[dict[str, Any]]:
    shared = {
        "made_at": request.made_at,
        "request_id": request.request_id,
        "alias": request.alias,
        "version": request.version,
        "task": request.task,
        "target": json.dumps({"kind": request.target.kind, "classes": list(request.target.classes)}),
    }
    return [
        {
            **shared,
            "id": one.id,
            "record": one.record,
            "patient": one.patient,
            "units": json.dumps(one.units.tolist()),
            "probabilities": json.dumps(np.round(one.probabilities, 7).tolist()),
            "called": json.dumps(one.called.astype(int).tolist()),
            "input": f"{request.token}-{one.source}" if request.inputs else None,
            "place": one.place,
        }
        for one in request.predictions
    ]


def _described_rows(requests: Sequence[KeptRequest]) -> list[dict[str, Any]]:
    return [
        {"prediction": one.id, "places": one.places.astype("<i2").tobytes()}
        for request in requests
        for one in request.predictions
    ]
