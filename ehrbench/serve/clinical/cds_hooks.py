"""CDS Hooks (2.0): a card with the risk when a clinician opens a patient's chart.

    GET  /cds-services                 the one service, and what it needs to be sent along (prefetch)
    POST /cds-services/ehrbench-TASK   hook ``patient-view``: a card

The service asks no EHR for data: without its prefetch it answers 412, as the specification has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from fastapi import FastAPI, Request

from ehrbench.serve.answers import unit_answers
from ehrbench.serve.asked import TheService
from ehrbench.serve.clinical.code_map import CodeMap
from ehrbench.serve.clinical.fhir import posted, predicted, remarks
from ehrbench.serve.problems import Problem
from ehrbench.serve.service import Service

HOOK = "patient-view"
#: Of a card's summary, by the specification.
LONGEST_SUMMARY = 140


def add_cds_hooks(app: FastAPI, maps: Mapping[str, CodeMap]) -> None:
    """The endpoints above."""

    @app.get("/cds-services", include_in_schema=False)
    async def discovery(service: TheService) -> dict[str, Any]:
        return {"services": [_described(service, maps)]}

    @app.post("/cds-services/{name}", include_in_schema=False)
    async def card(name: str, request: Request, service: TheService) -> dict[str, Any]:
        described = _described(service, maps)
        if name != described["id"]:
            raise Problem(404, "no such service", field="id", remedy=f"call {described['id']}")
        content = _bundle(await posted(request, service), described["prefetch"])
        clinical, served = await predicted(content, service, maps, request.state.request_id)
        (unit,) = unit_answers(served)
        risks = ", ".join(f"{name} {p:.0%}" for name, p in unit.probability.items())
        notes = "\n".join(f"- {text}" for text in remarks(clinical, unit, simulated=served.bundle.simulated))
        return {
            "cards": [
                {
                    "uuid": _uuid(served.token),
                    "summary": f"Estimated risk: {risks}"[:LONGEST_SUMMARY],
                    "detail": f"Prediction `{unit.id}` of {served.bundle.manifest.study_name}.\n\n{notes}",
                    "indicator": "warning" if any(unit.decision.values()) else "info",
                    "source": {"label": f"ehrbench, {served.bundle.task.name} {served.bundle.digest[:12]}"},
                }
            ]
        }


def _described(service: Service, maps: Mapping[str, CodeMap]) -> dict[str, Any]:
    """The service, of the task that is served now."""
    task = service.bundle.task
    prefetch = {"patient": "Patient/{{context.patientId}}"}
    if (codes := maps.get(task.name)) is not None:
        wanted = ",".join(f"{codes.system}|{code}" for code in sorted({*codes.codes, *codes.panels}))
        prefetch["encounter"] = "Encounter/{{context.encounterId}}"
        prefetch["observations"] = f"Observation?encounter={{{{context.encounterId}}}}&code={wanted}"
    else:
        prefetch["answers"] = "QuestionnaireResponse?patient={{context.patientId}}&_sort=-authored&_count=1"
    return {
        "hook": HOOK,
        "id": f"ehrbench-{task.name}",
        "title": f"Risk of {', '.join(task.target.classes)}"[:LONGEST_SUMMARY],
        "description": f"Calibrated probability for this {task.words.record}, with what to know beside it.",
        "prefetch": prefetch,
    }


def _bundle(content: Mapping[str, Any], needed: Mapping[str, str]) -> dict[str, Any]:
    """The prefetched resources as one Bundle. Problem 422 for another hook, 412 without the prefetch."""
    if content.get("hook") != HOOK:
        raise Problem(422, "is not the hook of this service", field="hook", remedy=f"call it on {HOOK}")
    context, prefetch = content.get("context"), content.get("prefetch")
    patient = context.get("patientId") if isinstance(context, Mapping) else None
    if not isinstance(patient, str):
        raise Problem(422, "missing or no text", field="context.patientId")
    entries: list[dict[str, Any]] = []
    for key in needed:
        resource = prefetch.get(key) if isinstance(prefetch, Mapping) else None
        if not isinstance(resource, Mapping):
            problem = "was not sent along, and this service asks no EHR"
            raise Problem(
                412, problem, field=f"prefetch.{key}", remedy="configure the prefetch of /cds-services"
            )
        found = (
            resource.get("entry", [])
            if resource.get("resourceType") == "Bundle"
            else [{"resource": resource}]
        )
        if not isinstance(found, list):
            raise Problem(422, "not a list", field=f"prefetch.{key}.entry")
        entries += found
        if resource.get("resourceType") == "Patient" and resource.get("id") != patient:
            raise Problem(422, "is not the patient of the context", field="prefetch.patient.id")
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


def _uuid(token: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"urn:ehrbench:{token}"))
