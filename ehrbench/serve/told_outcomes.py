"""Told outcomes: what became of predictions, written to the store and read from it."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, func, insert, or_, select

from ehrbench.core.target import Target
from ehrbench.serve.feedback import FeedbackAnswer, KeptAnswer, KeptRecordAnswer, ToldAnswer, labels_of
from ehrbench.serve.kept_tables import outcomes, predictions, utc_now
from ehrbench.serve.problems import Problem


def keep_outcome(connection: Connection, told_of: str, outcome: Any, by: str) -> FeedbackAnswer:
    """Check an outcome and write it down; Problem 404 for an unknown prediction, 422 for a wrong outcome."""
    prediction, _, number = told_of.rpartition("-")
    row = connection.execute(
        select(predictions.c.target, predictions.c.units).where(predictions.c.id == prediction)
    ).one_or_none()
    if row is None or int(number) not in json.loads(row.units):
        remedy = "give the id of a prediction that this server made and still keeps"
        raise Problem(404, "no such prediction is kept", field="prediction", remedy=remedy)
    target = json.loads(row.target)
    labels = labels_of(outcome, Target(target["kind"], tuple(target["classes"])))
    values = json.dumps([None if label is None else int(label) for label in labels.values()])
    told = {"prediction": prediction, "unit": int(number), "labels": values}
    connection.execute(insert(outcomes), {**told, "told_at": utc_now(), "told_by": by})
    here = (outcomes.c.prediction == prediction) & (outcomes.c.unit == int(number))
    n = connection.scalar(select(func.count()).select_from(outcomes).where(here))
    return FeedbackAnswer(prediction=told_of, outcome=labels, times_told=int(n or 0))


def kept_of(connection: Connection, name: str) -> KeptAnswer:
    """All that is kept of a record or patient, oldest first; Problem 404 where nothing is."""
    theirs = or_(predictions.c.record == name, predictions.c.patient == name)
    rows = connection.execute(select(predictions).where(theirs).order_by(predictions.c.made_at)).all()
    if not rows:
        raise Problem(404, "nothing is kept of this record", field="record")
    classes = {row.id: json.loads(row.target)["classes"] for row in rows}
    told = select(outcomes).where(outcomes.c.prediction.in_(classes)).order_by(outcomes.c.number)
    return KeptAnswer(
        predictions=[
            KeptRecordAnswer(
                prediction=row.id,
                record=row.record,
                made_at=row.made_at,
                alias=row.alias,
                version=row.version,
                task=row.task,
                probability=[
                    dict(zip(classes[row.id], p, strict=True)) for p in json.loads(row.probabilities)
                ],
                input_kept=row.input is not None,
            )
            for row in rows
        ],
        outcomes=[
            ToldAnswer(
                prediction=f"{one.prediction}-{one.unit}",
                outcome=_labels(classes[one.prediction], one.labels),
                told_at=one.told_at,
                told_by=one.told_by,
            )
            for one in connection.execute(told)
        ],
    )


def _labels(classes: list[str], text: str) -> dict[str, bool | None]:
    labels = [None if label is None else bool(label) for label in json.loads(text)]
    return dict(zip(classes, labels, strict=True))
