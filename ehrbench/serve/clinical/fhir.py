"""FHIR: ``POST /fhir/RiskAssessment`` answers a Bundle of one patient by a RiskAssessment (R4, 4.0.1).

    GET  /fhir/metadata         a CapabilityStatement: the version, and what is read
    POST /fhir/RiskAssessment   a Bundle of Patient, Encounter and Observations, or a QuestionnaireResponse

What is wrong is told by an OperationOutcome that names the element. Nothing is stored as a resource.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI, Request, Response

from ehrbench.serve.answers import INTENDED_USE, SIMULATED, UnitAnswer, unit_answers
from ehrbench.serve.asked import TheService
from ehrbench.serve.bodies import json_object, read_body, refuse_packed
from ehrbench.serve.clinical.clinical_record import ClinicalRecord, read_bundle
from ehrbench.serve.clinical.code_map import CodeMap
from ehrbench.serve.problems import Problem
from ehrbench.serve.served import Served
from ehrbench.serve.service import Service

VERSION, MEDIA_TYPE = "4.0.1", "application/fhir+json"
#: Of a prediction's identifier, by which its outcome is told (``POST /feedback``).
PREDICTION = "urn:ehrbench:prediction"
_ISSUES = {400: "invalid", 404: "not-found", 413: "too-long", 415: "not-supported", 422: "processing"}


def add_fhir(app: FastAPI, maps: Mapping[str, CodeMap]) -> None:
    """The endpoints above. maps: by task."""

    @app.get("/fhir/metadata", include_in_schema=False)
    async def metadata() -> Response:
        return _answer(200, capability())

    @app.post("/fhir/RiskAssessment", include_in_schema=False)
    async def assess(request: Request, service: TheService) -> Response:
        async def assessed() -> dict[str, Any]:
            content = await posted(request, service)
            clinical, served = await predicted(content, service, maps, request.state.request_id)
            return risk_assessment(clinical, served)

        return await _told(assessed)


async def posted(request: Request, service: Service) -> dict[str, Any]:
    """The JSON object of a request, within the server's limits."""
    refuse_packed(request)
    settings = service.settings
    return json_object(await read_body(request, settings.max_body_bytes, settings.body_timeout_s))


async def predicted(
    content: Mapping[str, Any], service: Service, maps: Mapping[str, CodeMap], request_id: str
) -> tuple[ClinicalRecord, Served]:
    """The record of a Bundle and what is predicted of it; Problem 422 for what is no record of one unit."""
    clinical = read_bundle(content, service.bundle.task, maps)
    served = await service.predict([clinical.raw], request_id=request_id)
    if served.records.total_units != 1:
        raise Problem(422, f"{served.records.total_units} predictions of one patient", remedy="use /predict")
    return clinical, served


def risk_assessment(clinical: ClinicalRecord, served: Served) -> dict[str, Any]:
    """The resource; its identifier is the prediction's id."""
    bundle, (unit,) = served.bundle, unit_answers(served)
    answer: dict[str, Any] = {
        "resourceType": "RiskAssessment",
        "identifier": [{"system": PREDICTION, "value": unit.id}],
        "status": "final",
        "method": {"text": f"{bundle.manifest.study_name} {bundle.digest[:12]}"},
        "subject": {"reference": clinical.subject},
        "occurrenceDateTime": datetime.now(UTC).isoformat(timespec="seconds"),
        "prediction": [
            {
                "outcome": {"text": name},
                "probabilityDecimal": round(p, 6),
                "rationale": f"{'at or above' if unit.decision[name] else 'below'} the model's threshold",
            }
            for name, p in unit.probability.items()
        ],
        "note": [{"text": text} for text in remarks(clinical, unit, simulated=bundle.simulated)],
    }
    if clinical.encounter is not None:
        answer["encounter"] = {"reference": clinical.encounter}
    return answer


def remarks(clinical: ClinicalRecord, unit: UnitAnswer, *, simulated: bool) -> list[str]:
    """What a reader must know beside the probability."""
    left_out = [f"{n} values left out: {why}" for why, n in clinical.left_out.items()]
    flags = [flag.replace("_", " ") for flag in unit.flags]
    return [INTENDED_USE, *([SIMULATED] if simulated else []), *left_out, *flags]


def capability() -> dict[str, Any]:
    """What this server is to a FHIR client."""
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": "2026-11-28",
        "kind": "instance",
        "software": {"name": "ehrbench"},
        "implementation": {"description": "Risk assessments of one patient; nothing is kept as a resource"},
        "fhirVersion": VERSION,
        "format": ["json"],
        "rest": [
            {"mode": "server", "resource": [{"type": "RiskAssessment", "interaction": [{"code": "create"}]}]}
        ],
    }


async def _told(answer: Callable[[], Awaitable[dict[str, Any]]]) -> Response:
    """The resource, or an OperationOutcome of what is wrong with the request."""
    try:
        return _answer(200, await answer())
    except Problem as problem:
        issue = {"severity": "error", "code": _ISSUES.get(problem.status, "transient")}
        issue["diagnostics"] = problem.problem + (f" — {problem.remedy}" if problem.remedy else "")
        place = problem.field or problem.record
        issue |= {} if place is None else {"expression": [str(place)]}  # type: ignore[dict-item]
        return _answer(problem.status, {"resourceType": "OperationOutcome", "issue": [issue]})


def _answer(status: int, content: Mapping[str, Any]) -> Response:
    return Response(json.dumps(content, ensure_ascii=False), status, media_type=MEDIA_TYPE)
