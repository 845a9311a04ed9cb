"""App: the HTTP face of one bundle.

    POST /predict   raw records (JSON, the publisher's text file, or files of a form) to probabilities
    GET  /healthz   200 while it predicts as the exporting machine did, otherwise 503
    GET  /model     what the bundle's manifest says of it
    GET  /example   a record in the publisher's format
    GET  /, /docs   pages for people; they need no network but this server

Nothing is global: ``create_app`` may be called many times in one process.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio.to_thread
from fastapi import Depends, FastAPI, Query, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles

from ehrbench.runtime import Bundle
from ehrbench.serve.answers import (
    HealthAnswer,
    ModelAnswer,
    PredictAnswer,
    evidence_answer,
    model_answer,
    predict_answer,
)
from ehrbench.serve.inputs import read_inputs
from ehrbench.serve.limits import ServeSettings
from ehrbench.serve.openapi import describe_predict, example_body
from ehrbench.serve.problems import Problem, ProblemAnswer, install_problem_handlers
from ehrbench.serve.requests import RequestMiddleware
from ehrbench.serve.service import Service

#: Units of an answer from which on it is written in a thread; a handful is quicker without.
MANY_UNITS = 1000
PAGES = Path(__file__).with_name("pages")


def create_app(bundle_dir: str | Path, settings: ServeSettings | None = None) -> FastAPI:
    """An app that serves the bundle in ``bundle_dir``.

    The bundle is loaded once, when the app starts; until then, and when it cannot be used, every answer that
    needs it is a 503 and ``/healthz`` says why.
    """
    service = Service(Path(bundle_dir), settings or ServeSettings())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(service.load())
        yield
        service.drain()
        await loading

    app = FastAPI(title="ehrbench", version="1", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service = service
    app.add_middleware(RequestMiddleware)
    install_problem_handlers(app)
    _add_endpoints(app)
    _add_pages(app)
    app.openapi = lambda: _openapi(app, service)  # type: ignore[method-assign]
    return app


async def _service(request: Request) -> Service:  # async: FastAPI calls a plain function in another thread
    service: Service = request.app.state.service
    return service


TheService = Annotated[Service, Depends(_service)]


async def _bundle(service: TheService) -> Bundle:
    return service.bundle


LoadedBundle = Annotated[Bundle, Depends(_bundle)]
Explain = Annotated[
    Literal["members", "pieces"] | None,
    Query(
        description="`members` adds each model's own probability; `pieces`, what of one record it rests on"
    ),
]


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ProblemAnswer} for status in statuses}


def _add_endpoints(app: FastAPI) -> None:
    @app.post("/predict", response_model=PredictAnswer, responses=_problems(400, 408, 413, 415, 422, 503))
    async def predict(request: Request, service: TheService, explain: Explain = None) -> Response:
        """Calibrated probabilities for raw records.

        Post one raw record as JSON, several as `{"records": [...]}`, the publisher's own file as text/plain,
        or files as multipart/form-data. Parsing is strict: the first field that cannot be read is named.
        """
        bundle = service.bundle  # not ready: say so before reading the body
        inputs = await read_inputs(request, service.settings, bundle.task.forms)
        records, prediction, found = await service.predict(inputs, pieces=explain == "pieces")
        request.state.n_records, request.state.n_units = len(records), records.total_units

        def written() -> bytes:
            name, members = request.state.request_id, explain == "members"
            answer = predict_answer(bundle, records, prediction, name, members=members)
            if found is not None:
                answer.predictions[0].evidence = evidence_answer(found)
            return answer.model_dump_json(exclude_none=True).encode()

        # a day's beats take a second to write, in which a server must answer others
        many = records.total_units > MANY_UNITS
        content = await anyio.to_thread.run_sync(written) if many else written()
        return Response(content, headers={"X-Cohort": bundle.manifest.cohort}, media_type="application/json")

    @app.get("/healthz", responses={503: {"model": HealthAnswer}}, response_model_exclude_none=True)
    async def health(response: Response, service: TheService) -> HealthAnswer:
        """Whether the server predicts, and predicts what the exporting machine did."""
        answer = service.health()
        response.status_code = 200 if answer.status == "ok" else 503
        return answer

    @app.get("/model", responses=_problems(503), response_model_exclude_none=True)
    async def model(bundle: LoadedBundle) -> ModelAnswer:
        """What the bundle's manifest says: where it comes from, how good it was found, what it is for."""
        return model_answer(bundle)

    @app.get("/example", responses=_problems(503), response_class=PlainTextResponse)
    async def example(bundle: LoadedBundle) -> Response:
        """One record in the publisher's own format, to try `/predict` with."""
        kind = bundle.task.forms[0].media_types[0].replace("text/*", "text/plain")
        return Response(example_body(bundle.task), media_type=kind)


def _add_pages(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def home() -> FileResponse:
        return FileResponse(PAGES / "home.html")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return FileResponse(PAGES / "docs.html")

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon() -> FileResponse:
        return FileResponse(PAGES / "icon.svg")

    app.mount("/pages", StaticFiles(directory=PAGES), name="pages")


def _openapi(app: FastAPI, service: Service) -> dict[str, Any]:
    """The description of the API, with the task's own record and examples as soon as a bundle is loaded."""
    if app.openapi_schema is None:
        description = get_openapi(title=app.title, version=app.version, routes=app.routes)
        try:
            bundle = service.bundle
        except Problem:
            return description
        description["info"]["description"] = bundle.task.name
        description["info"]["version"] = bundle.digest[:12]
        app.openapi_schema = describe_predict(description, bundle.task)
    return app.openapi_schema
