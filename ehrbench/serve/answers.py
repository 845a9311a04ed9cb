"""Answers: the shapes of what the server says, and how a prediction becomes one."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, Field

from ehrbench.core.records import Divisible, Serial
from ehrbench.core.types import FloatArray
from ehrbench.ensemble.label_sets import LabelSets
from ehrbench.ensemble.venn_abers import VennAbers
from ehrbench.runtime import Bundle
from ehrbench.runtime.occlusion import Occlusion
from ehrbench.serve.challenge import LiveAnswer
from ehrbench.serve.deployments import Deployment
from ehrbench.serve.served import Served, unit_id

INTENDED_USE = (
    "Research: comparing prediction models on retrospective data. Not a medical device; not for decisions"
    " about anybody's care."
)
SIMULATED = (
    "Fitted on a SIMULATED cohort: these figures say nothing about real patients and only show that the"
    " program runs."
)
State = Literal["loading", "ok", "failed", "draining"]


class UnitAnswer(BaseModel):
    """One predicted unit of a record."""

    id: str = Field(description="Of this prediction; `POST /feedback` tells its outcome by it")
    record: str = Field(description="The record's id")
    unit: int = Field(description="Number of the unit within its record, from 0")
    probability: dict[str, float] = Field(description="Class to calibrated probability")
    decision: dict[str, bool] = Field(
        description="Class to whether it is called: its probability reaches the threshold, after gaps and"
        " single calls along a record are mended where the bundle does so"
    )
    interval: dict[str, tuple[float, float]] | None = Field(
        None,
        description="Class to the ends of its probability's Venn-Abers interval: what came of training"
        " records of about this probability, were this one a negative, and were it a positive; stretched to"
        " the probability where it lies outside",
    )
    label_set: list[str] | None = Field(
        None,
        description="Of a target of several classes: those that cannot be ruled out. It holds the true one"
        " for nine of ten units of each class",
    )
    flags: list[str] = Field(description="What a reader should know of the record, such as no_measurements")
    members: dict[str, dict[str, float]] | None = Field(
        None, description="Model to class to its own uncalibrated probability; with ?explain=members, or true"
    )
    evidence: EvidenceAnswer | None = Field(
        None, description="What of a single record it rests on; with ?explain=pieces, or true"
    )
    contributions: dict[str, dict[str, dict[str, float]]] | None = Field(
        None,
        description="Model of boosted trees to variable to class to what it adds to the model's score"
        " (log-odds, TreeSHAP); beside the evidence",
    )


class PieceAnswer(BaseModel):
    """One piece of a record, and what it is worth."""

    at: list[int] = Field(
        description="Where it lies; of a text: first character, and the one after its last; of named values:"
        " likewise among the names, then the minutes of a part of the course"
    )
    fine: bool = Field(description="Whether it is part of another piece (a word of a sentence)")
    effect: dict[str, float] = Field(
        description="Class to the score (log-odds, not calibrated) with the piece less that without it"
    )


class EvidenceAnswer(BaseModel):
    """What of the record the prediction rests on: pieces left out one at a time, and predicted again."""

    on: Any = Field(
        description="What the pieces lie on: of a text, the text as it was read; of named values, these"
    )
    pieces: list[PieceAnswer]


class Series(BaseModel):
    """The number at each predicted unit, where the task's records are series."""

    title: str = Field(description="What the numbers are, with their unit")
    values: list[float]


class ModelName(BaseModel):
    """Which bundle answered."""

    alias: str = Field(description="The name it is deployed by, such as champion")
    version: str = Field(description="Digest of the bundle")
    study_name: str
    task: str
    cohort: str = Field(description="publisher, or simulated")
    warning: str | None = None


class PredictAnswer(BaseModel):
    """Predictions of the posted records' units, in order."""

    predictions: list[UnitAnswer]
    series: Series | None = Field(None, description="With ?explain=members, of records that are series")
    model: ModelName
    request_id: str


class HealthAnswer(BaseModel):
    """Whether the server predicts, and predicts what the exporting machine did."""

    status: State
    self_test_difference: float | None = Field(
        None, description="Largest difference from the exporting machine's probabilities for the example"
    )
    problem: str | None = None
    version: str | None = None


class KeepsAnswer(BaseModel):
    """What a server keeps of what is posted to it."""

    predictions: bool = Field(
        description="Whether predictions are kept, so that outcomes can be told of them"
    )
    inputs: bool = Field(description="Whether posted records are kept")
    retention_days: float | None = Field(None, description="After which all of it is deleted")
    feedback: Literal["none", "open", "key"] = Field(
        description="Whether outcomes are taken, and whether that takes an API key"
    )


class DeploymentAnswer(ModelName):
    """One alias and what it has done."""

    since: datetime
    canary_share: float = Field(description="Share of requests that it answers in the champion's place")
    shadow_share: float = Field(description="Share of requests that it predicts, too, for comparison")
    live: LiveAnswer


class ModelsAnswer(BaseModel):
    """All aliases; compared live where requests are shared out."""

    models: list[DeploymentAnswer]
    problems: dict[str, str] = Field(description="Alias (or place) to why it is not what it should be")


class ModelAnswer(ModelName):
    """What the bundle's manifest says of it."""

    intended_use: str
    description: str
    words: dict[str, str] = Field(description="What the task calls a record, a unit and the axis of time")
    target: dict[str, Any]
    thresholds: dict[str, float]
    threshold_rule: str
    metrics: dict[str, Any] = Field(description="Metric to value and 95 % intervals under the protocol")
    protocol: str
    data_digest: str
    data_sets: list[str]
    models: dict[str, int] = Field(description="Model to number of members averaged")
    git_commit: str
    created: str
    seed: int
    versions: dict[str, str]
    shows_evidence: bool = Field(description="Whether ?explain=pieces is answered")
    keeps: KeepsAnswer
    record_schema: dict[str, Any] = Field(description="JSON schema of one raw record")


def model_name(deployment: Deployment) -> dict[str, Any]:
    """The fields of ``ModelName``."""
    bundle = deployment.bundle
    return {
        "alias": deployment.alias,
        "version": bundle.digest,
        "study_name": bundle.manifest.study_name,
        "task": bundle.task.name,
        "cohort": bundle.manifest.cohort,
        "warning": SIMULATED if bundle.simulated else None,
    }


def unit_answers(served: Served, *, members: bool = False) -> list[UnitAnswer]:
    """One row a unit; ``members`` adds each model's own probability."""
    records, prediction, called = served.records, served.prediction, served.called
    classes = served.bundle.manifest.target.classes
    doubt = _doubts(served)
    flags = [[name for name, marked in records.flags.items() if marked[n]] for n in range(len(records))]
    return [
        UnitAnswer(
            id=unit_id(served.token, int(n), int(unit)),
            record=str(records.ids[n]),
            unit=int(unit),
            probability=dict(zip(classes, prediction.probabilities[u].tolist(), strict=True)),
            decision=dict(zip(classes, called[u].tolist(), strict=True)),
            flags=flags[n],
            **doubt[u],
            members={
                name: dict(zip(classes, p[u].tolist(), strict=True))
                for name, p in prediction.by_model.items()
            }
            if members
            else None,
            evidence=None,
        )
        for u, (n, unit) in enumerate(zip(records.unit_record, records.unit_number, strict=True))
    ]


def _doubts(served: Served) -> list[dict[str, Any]]:
    """(U,) each unit's interval or label set; nothing where the bundle has none."""
    bundle, p = served.bundle, served.prediction.probabilities
    classes = bundle.manifest.target.classes
    if isinstance(bundle.uncertainty, VennAbers):
        ends = bundle.uncertainty.around(p).tolist()
        return [{"interval": dict(zip(classes, row, strict=True))} for row in ends]
    if isinstance(bundle.uncertainty, LabelSets):
        held = bundle.uncertainty.sets(p).tolist()
        return [{"label_set": [c for c, is_in in zip(classes, row, strict=True) if is_in]} for row in held]
    return [{}] * len(p)


def predict_answer(served: Served, request_id: str, *, members: bool) -> PredictAnswer:
    """All of one request."""
    rows, payload = unit_answers(served, members=members), served.records.payload
    if served.evidence is not None:
        rows[0].evidence = evidence_answer(served.evidence)
        rows[0].contributions = {
            model: {p: _rounded(served, x[0]) for p, x in parts.items()}
            for model, parts in served.contributions.items()
        } or None
    series = None
    if members and isinstance(payload, Serial):
        series = Series(title=payload.series_title, values=payload.series().tolist())
    name = ModelName(**model_name(served.deployment))
    return PredictAnswer(predictions=rows, series=series, model=name, request_id=request_id)


def _rounded(served: Served, effects: FloatArray) -> dict[str, float]:
    """Class to what something is worth (C,), to four decimals."""
    return dict(zip(served.bundle.manifest.target.classes, np.round(effects, 4).tolist(), strict=True))


def evidence_answer(found: Occlusion) -> EvidenceAnswer:
    """Pieces as a page draws them, effects to four decimals."""
    pieces = [
        PieceAnswer(
            at=list(at), fine=fine, effect=dict(zip(found.classes, np.round(row, 4).tolist(), strict=True))
        )
        for at, fine, row in zip(found.pieces, found.is_fine, found.effects, strict=True)
    ]
    return EvidenceAnswer(on=found.on, pieces=pieces)


def model_answer(deployment: Deployment, keeps: KeepsAnswer) -> ModelAnswer:
    """The manifest's facts, for people and programs that must know what they talk to."""
    bundle, manifest = deployment.bundle, deployment.bundle.manifest
    return ModelAnswer(
        **model_name(deployment),
        keeps=keeps,
        intended_use=INTENDED_USE,
        description=_description(bundle),
        words=asdict(bundle.task.words),
        target={"kind": manifest.target.kind, "classes": list(manifest.target.classes)},
        thresholds=dict(zip(manifest.target.classes, manifest.thresholds, strict=True)),
        threshold_rule=manifest.threshold_rule,
        metrics=manifest.metrics,
        protocol=manifest.protocol,
        data_digest=manifest.data_digest,
        data_sets=manifest.data_sets,
        models={name: len(folders) for name, folders in manifest.models.items()},
        git_commit=manifest.git_commit,
        created=manifest.created,
        seed=manifest.seed,
        versions=manifest.versions,
        shows_evidence=_is_divisible(bundle),
        record_schema=bundle.task.raw_schema(),
    )


def _is_divisible(bundle: Bundle) -> bool:
    """Asked of the task's example."""
    records = bundle.task.parse([bundle.task.example()], strict=True).records
    return isinstance(records.payload, Divisible) and records.total_units == 1


def _description(bundle: Bundle) -> str:
    """The first paragraph of what the task's file says it is."""
    kind = type(bundle.task)
    text = sys.modules[kind.__module__].__doc__ or kind.__doc__ or ""
    return text.strip().split("\n\n")[0].replace("\n", " ")
