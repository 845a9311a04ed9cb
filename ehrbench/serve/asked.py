"""Asked: what endpoints need of a request: the service, a model's alias, an explanation, a key."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Depends, Query, Request

from ehrbench.serve.keys import NOBODY
from ehrbench.serve.problems import Problem, ProblemAnswer
from ehrbench.serve.service import Service


async def _service(request: Request) -> Service:  # async: FastAPI calls a plain function in another thread
    service: Service = request.app.state.service
    return service


TheService = Annotated[Service, Depends(_service)]


async def _writer(request: Request, service: TheService) -> str:
    """The name of the key that a request brings; ``NOBODY`` where the server knows no keys."""
    return _named(request, service) if service.keys else NOBODY


async def _reader(request: Request, service: TheService) -> str:
    """As ``_writer``, but a server without keys lets nobody do it."""
    if not service.keys:
        remedy = "start the server with API keys (see the documentation of ehrbench serve)"
        raise Problem(403, "this server has no API keys, so nobody may ask this", remedy=remedy)
    return _named(request, service)


def _named(request: Request, service: Service) -> str:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    name = service.keys.name_of(key.strip()) if scheme.lower() == "bearer" else None
    if name is None:
        raise Problem(401, "no API key, or none of this server's", remedy="send Authorization: Bearer KEY")
    return name


Writer = Annotated[str, Depends(_writer)]
Reader = Annotated[str, Depends(_reader)]
Explain = Annotated[
    Literal["members", "pieces", "true"] | None,
    Query(
        description="`members` adds each model's own probability; `pieces`, what of one record it rests on;"
        " `true`, both"
    ),
]
Alias = Annotated[
    str | None,
    Query(max_length=128, description="Alias of the model that is to answer (`/models`); else the champion"),
]


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What an endpoint may refuse with, for its description; 429 may come of any."""
    return {status: {"model": ProblemAnswer} for status in (*statuses, 429)}
