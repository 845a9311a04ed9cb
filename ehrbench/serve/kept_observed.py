"""Kept observed: a version's predictions and outcomes from the store, as the monitor takes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, func, select

from ehrbench.core.profile import ABSENT
from ehrbench.monitor.observed import Observed
from ehrbench.serve.kept_tables import described, outcomes, predictions

#: Records of one version that are looked at, the latest.
MOST = 50_000


@dataclass(frozen=True, eq=False)
class KeptRows:
    """Rows as the database has them: read in one go, since nobody else writes meanwhile."""

    predictions: Sequence[Any]
    outcomes: Sequence[Any]
    first: int
    last: int


def kept_rows(connection: Connection, version: str) -> KeptRows:
    """What is kept of one version."""
    p = predictions.c
    newest = (
        select(described, p.patient, p.made_at, p.units, p.probabilities, p.called)
        .join(predictions, p.id == described.c.prediction)
        .where(p.version == version)
        .order_by(described.c.number.desc())
        .limit(MOST)
    )
    told = (
        select(outcomes)
        .join(predictions, p.id == outcomes.c.prediction)
        .where(p.version == version)
        .order_by(outcomes.c.number)
    )
    first, last = connection.execute(select(func.min(described.c.number), func.max(described.c.number))).one()
    return KeptRows(
        connection.execute(newest).all()[::-1], connection.execute(told).all(), first or 0, last or 0
    )


def observed(rows: KeptRows, n_classes: int, n_columns: int) -> Observed:
    """The same as arrays. n_columns: of the bundle's profile; rows kept without one have none there."""
    units = [json.loads(row.units) for row in rows.predictions]
    place = {
        (row.prediction, unit): 0 for row, of in zip(rows.predictions, units, strict=True) for unit in of
    }
    place = {key: k for k, key in enumerate(place)}
    y, told = np.full((len(place), n_classes), np.nan), np.full(len(place), -1, dtype=np.int64)
    for one in rows.outcomes:
        if (k := place.get((one.prediction, one.unit))) is not None:
            y[k] = [np.nan if label is None else label for label in json.loads(one.labels)]
            told[k] = one.number if told[k] < 0 else told[k]
    places = np.full((len(units), n_columns), ABSENT, dtype=np.int16)
    for row, into in zip(rows.predictions, places, strict=True):
        if len(row.places) == into.nbytes:
            into[:] = np.frombuffer(row.places, "<i2")
    return Observed(
        number=np.array([row.number for row in rows.predictions], dtype=np.int64),
        first=rows.first,
        last=rows.last,
        patient=np.array([row.patient for row in rows.predictions], dtype=np.str_),
        made_at=np.array([row.made_at for row in rows.predictions], dtype="datetime64[s]"),
        places=places,
        record=np.repeat(np.arange(len(units)), [len(of) for of in units]),
        p=_units(rows.predictions, "probabilities", n_classes, np.float64),
        called=_units(rows.predictions, "called", n_classes, np.bool_),
        y=y,
        told=told,
    )


def _units(rows: Sequence[Any], column: str, n_classes: int, kind: Any) -> np.ndarray:
    """(U, C) of a column whose cells hold a row a unit."""
    parts = [np.array(json.loads(getattr(row, column)), dtype=kind).reshape(-1, n_classes) for row in rows]
    return np.concatenate([np.zeros((0, n_classes), dtype=kind), *parts])
