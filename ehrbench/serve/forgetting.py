"""Deletion of what a server keeps: by age, or of a record or patient; the audit's line names nobody."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, or_, select

from ehrbench.serve.kept_tables import audit, described, inputs, outcomes, predictions, utc_now

log = logging.getLogger("ehrbench.serve")

#: Predictions deleted by one statement.
BATCH = 500


def sweep(connection: Connection, before: datetime) -> int:
    """Delete all that was predicted before a time, with its outcomes; how many predictions that were."""
    old = select(predictions.c.id).where(predictions.c.made_at < before)
    bodies = inputs.c.made_at < before
    return _delete(connection, list(connection.scalars(old)), bodies, "retention", "the server", "")


def forget(connection: Connection, name: str, by: str, request_id: str) -> int:
    """Delete all that is kept of a record or patient ``name``; how many predictions that were.

    A body that holds other patients, too, goes whole: it could not be kept without this one.
    """
    theirs = or_(predictions.c.record == name, predictions.c.patient == name)
    found = connection.execute(select(predictions.c.id, predictions.c.input).where(theirs)).all()
    bodies = inputs.c.id.in_({row.input for row in found if row.input})
    return _delete(connection, [row.id for row in found], bodies, "deletion", by, request_id)


def _delete(
    connection: Connection, ids: Sequence[str], bodies: Any, what: str, by: str, request_id: str
) -> int:
    n_outcomes = n_predictions = 0
    for start in range(0, len(ids), BATCH):
        some = ids[start : start + BATCH]
        connection.execute(delete(described).where(described.c.prediction.in_(some)))
        n_outcomes += connection.execute(delete(outcomes).where(outcomes.c.prediction.in_(some))).rowcount
        n_predictions += connection.execute(delete(predictions).where(predictions.c.id.in_(some))).rowcount
    n_inputs = connection.execute(delete(inputs).where(bodies)).rowcount
    if n_predictions or n_inputs or what == "deletion":
        counts = {"n_predictions": n_predictions, "n_inputs": n_inputs, "n_outcomes": n_outcomes}
        who = {"what": what, "done_at": utc_now(), "done_by": by, "request_id": request_id}
        connection.execute(insert(audit), {**who, **counts})
        log.info("deleted", extra={"fields": {"what": what, "by": by, **counts}})
    return n_predictions
