"""Keeping: what is asked of the store over HTTP.

    POST   /feedback           what became of a predicted unit
    GET    /records/{record}   what is kept of a record or patient
    DELETE /records/{record}   deletes all of it

A server without a store answers these with 404, and one whose database is away with 503: unlike a prediction,
an outcome or a deletion must not be lost without a word.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from fastapi import FastAPI, Path, Request
from pydantic import ValidationError

from ehrbench.core.errors import StorageError
from ehrbench.serve.answers import KeepsAnswer
from ehrbench.serve.asked import Reader, TheService, Writer, problems
from ehrbench.serve.bodies import json_object, read_body, refuse_packed
from ehrbench.serve.feedback import FeedbackAnswer, FeedbackRequest, ForgottenAnswer, KeptAnswer
from ehrbench.serve.problems import Problem
from ehrbench.serve.service import Service
from ehrbench.tasks.names import LONGEST

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

T = TypeVar("T")
#: Of a told outcome.
MOST_BYTES = 64 * 1024
#: How long a database may take to answer.
PATIENCE_S = 20
RecordName = Annotated[str, Path(max_length=LONGEST, description="A record's id, or its patient's")]
_SECURED: dict[str, Any] = {"security": [{"key": []}]}


def keeps(service: Service) -> KeepsAnswer:
    """What the server keeps, as `/model` and the page say it."""
    if service.store is None:
        return KeepsAnswer(predictions=False, inputs=False, retention_days=None, feedback="none")
    settings = service.store.settings
    return KeepsAnswer(
        predictions=True,
        inputs=settings.inputs,
        retention_days=settings.retention_days,
        feedback="key" if service.keys else "open",
    )


def add_keeping(app: FastAPI) -> None:
    """The endpoints above."""

    @app.post(
        "/feedback",
        status_code=201,
        responses=problems(400, 401, 404, 408, 413, 415, 422, 503),
        openapi_extra={
            "security": [{"key": []}, {}],
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": FeedbackRequest.model_json_schema()}},
            },
        },
    )
    async def feedback(request: Request, service: TheService, by: Writer) -> FeedbackAnswer:
        """Tell what became of a predicted unit, any time later; told again, the last outcome counts."""
        kept_at_all(service)
        told = await _read(request, service)
        from ehrbench.serve.told_outcomes import keep_outcome

        answer = await asked(service, lambda c: keep_outcome(c, told.prediction, told.outcome, by))
        service.instruments.feedback.inc()
        return answer

    @app.get("/records/{record}", responses=problems(401, 403, 404, 422, 503), openapi_extra=_SECURED)
    async def kept(record: RecordName, service: TheService, by: Reader) -> KeptAnswer:
        """Predictions and outcomes that are kept of a record or patient."""
        kept_at_all(service)
        from ehrbench.serve.told_outcomes import kept_of

        return await asked(service, lambda c: kept_of(c, record))

    @app.delete("/records/{record}", responses=problems(401, 403, 404, 422, 503), openapi_extra=_SECURED)
    async def forgotten(
        record: RecordName, request: Request, service: TheService, by: Reader
    ) -> ForgottenAnswer:
        """Delete all that is kept of a record or patient: predictions, outcomes, posted bodies."""
        kept_at_all(service)
        from ehrbench.serve.forgetting import forget

        n = await asked(service, lambda c: forget(c, record, by, request.state.request_id))
        return ForgottenAnswer(predictions=n)


async def _read(request: Request, service: Service) -> FeedbackRequest:
    """The body, as strictly as a record's is read; Problem naming the field that cannot be."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Problem(415, "not application/json", remedy="post it as JSON")
    refuse_packed(request)
    body = await read_body(request, MOST_BYTES, service.settings.body_timeout_s)
    try:
        return FeedbackRequest.model_validate(json_object(body))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"] if part not in ("bool", "str"))
        raise Problem(422, str(first["msg"]), field=place, remedy="see /docs for what is read") from error


def kept_at_all(service: Service) -> None:
    """Problem 404 of a server without a store."""
    if service.store is None:
        raise Problem(404, "this server keeps no predictions", remedy="start it with --store")


async def asked(service: Service, job: Callable[[Connection], T]) -> T:
    """What the store answers; Problem 503 where its database is away."""
    assert service.store is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await asyncio.wrap_future(service.store.ask(job))
    except (StorageError, TimeoutError) as error:
        remedy = "send it again later"
        raise Problem(503, "the database does not answer", remedy=remedy, retry_after_s=5) from error
