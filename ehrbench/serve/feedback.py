"""Feedback: what became of a predicted unit, told by the id of its prediction, at any later time.

Labels are checked against the target that the prediction was made for, which may be another than the served
bundle's by now.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ehrbench.core.target import Target
from ehrbench.serve.problems import Problem

#: Letters of a prediction's id, as many as are read.
ID = r"^[0-9a-f]{16}-\d{1,7}-\d{1,9}$"


class FeedbackRequest(BaseModel):
    """What became of one predicted unit."""

    model_config = ConfigDict(extra="forbid")
    prediction: str = Field(pattern=ID, description="`id` of the predicted unit")
    outcome: dict[str, bool | None] | bool | str = Field(
        description="Class to whether it came true (null: unknown); or true or false of a binary target; or"
        " the one class that came true"
    )


class FeedbackAnswer(BaseModel):
    """The outcome as it is kept."""

    prediction: str
    outcome: dict[str, bool | None]
    times_told: int = Field(description="How often an outcome was told of this unit; the last one counts")
    status: Literal["kept"] = "kept"


class ToldAnswer(BaseModel):
    """One outcome that was told."""

    prediction: str
    outcome: dict[str, bool | None]
    told_at: datetime = Field(description="UTC")
    told_by: str


class KeptRecordAnswer(BaseModel):
    """One kept prediction of a record."""

    prediction: str = Field(description="Begins the id of each of its units")
    record: str
    made_at: datetime = Field(description="UTC")
    alias: str
    version: str
    task: str
    probability: list[dict[str, float]] = Field(description="Class to probability, of each unit")
    input_kept: bool


class KeptAnswer(BaseModel):
    """What is kept of a record or patient."""

    predictions: list[KeptRecordAnswer]
    outcomes: list[ToldAnswer]


class ForgottenAnswer(BaseModel):
    """What was deleted."""

    predictions: int = Field(description="How many predictions were kept, and are no more")


def labels_of(outcome: Mapping[str, bool | None] | bool | str, target: Target) -> dict[str, bool | None]:
    """Class to label of each class of ``target``; Problem 422 naming what is none of its outcomes."""
    classes = target.classes
    shown = ", ".join(classes[:20])
    if isinstance(outcome, bool):
        if target.kind != "binary":
            raise Problem(
                422,
                f"{json.dumps(outcome)} of {len(classes)} classes",
                field="outcome",
                remedy=f"say of {shown}",
            )
        return {classes[0]: outcome}
    if isinstance(outcome, str):
        if outcome not in classes:
            raise Problem(422, "no such class", field="outcome", remedy=f"name one of {shown}")
        return {name: name == outcome for name in classes}
    for name in outcome:
        if name not in classes:
            raise Problem(422, "no such class", field=f"outcome.{name}", remedy=f"name some of {shown}")
    labels = {name: outcome.get(name) for name in classes}
    if target.kind == "multiclass" and sum(label is True for label in labels.values()) != 1:
        raise Problem(422, "not exactly one class is true", field="outcome", remedy=f"choose one of {shown}")
    if all(label is None for label in labels.values()):
        raise Problem(422, "nothing is known", field="outcome", remedy=f"say true or false of {shown}")
    if target.kind == "multiclass":  # one is true: the others are not
        return {name: label is True for name, label in labels.items()}
    return labels
