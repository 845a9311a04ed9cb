"""App: the HTTP face of the deployed bundles.

    POST /predict         raw records (JSON, the publisher's text file, or files of a form) to probabilities
    POST /predict/batch   any number of records, streamed both ways (``streaming``)
    GET  /model           what the manifest says of the bundle that answers, and what the server keeps
    GET  /example         a record in the publisher's format
    GET  /, /docs         pages for people; they need no network but this server

What is kept is asked in ``keeping``, whether it goes well in ``probes`` and ``watching``. Nothing is global:
``create_app`` may be called many times in one process.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles

from ehrbench.serve.answers import ModelAnswer, PredictAnswer, model_answer, predict_answer
from ehrbench.serve.asked import Alias, Explain, TheService, problems
from ehrbench.serve.bodies import read_inputs
from ehrbench.serve.clinical.cds_hooks import add_cds_hooks
from ehrbench.serve.clinical.code_map import CodeMap
from ehrbench.serve.clinical.fhir import add_fhir
from ehrbench.serve.deployments import CHAMPION
from ehrbench.serve.keeping import add_keeping, keeps
from ehrbench.serve.keys import ApiKeys
from ehrbench.serve.limits import ServeSettings
from ehrbench.serve.openapi import describe_predict, example_body
from ehrbench.serve.probes import add_probes
from ehrbench.serve.problems import Problem, install_problem_handlers
from ehrbench.serve.requests import RequestMiddleware
from ehrbench.serve.service import Service
from ehrbench.serve.streaming import add_streaming, rows_are_records
from ehrbench.serve.watching import add_watching

if TYPE_CHECKING:
    from ehrbench.serve.store import PredictionStore

#: Units of an answer from which on it is written in a thread; a handful is quicker without.
MANY_UNITS = 1000
PAGES = Path(__file__).with_name("pages")


def create_app(
    place: str | Path,
    settings: ServeSettings | None = None,
    *,
    store: PredictionStore | None = None,
    keys: ApiKeys | None = None,
    maps: Mapping[str, CodeMap] | None = None,
) -> FastAPI:
    """An app that serves the bundle, or the bundles by alias, at ``place`` (``deployments``).

    Bundles are loaded when the app starts; until then, and when the champion cannot be used, every answer
    that needs one is a 503 and ``/healthz`` says why. store: where predictions are kept, closed with the
    app; keys: who may write and see what is kept; maps: by task, where FHIR and CDS Hooks are answered, too.
    """
    service = Service(Path(place), settings or ServeSettings(), store, keys)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(service.load())
        beside = [asyncio.create_task(service.watch())]
        if store is not None:
            beside.append(asyncio.create_task(watch.run()))
        yield
        service.drain()
        for task in beside:
            task.cancel()
        await loading
        for task in beside:
            with suppress(asyncio.CancelledError):
                await task
        await service.close()

    app = FastAPI(title="ehrbench", version="1", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service = service
    app.add_middleware(RequestMiddleware, service=service)
    install_problem_handlers(app)
    _add_endpoints(app)
    add_streaming(app)
    add_keeping(app)
    add_probes(app)
    watch = add_watching(app)
    if maps is not None:
        add_fhir(app, maps)
        add_cds_hooks(app, maps)
    _add_pages(app)
    app.openapi = lambda: _openapi(app, service)  # type: ignore[method-assign]
    return app


def _add_endpoints(app: FastAPI) -> None:
    @app.post("/predict", response_model=PredictAnswer, responses=problems(400, 404, 408, 413, 415, 422, 503))
    async def predict(
        request: Request, service: TheService, explain: Explain = None, model: Alias = None
    ) -> Response:
        """Calibrated probabilities for raw records.

        Post one raw record as JSON, several as `{"records": [...]}`, the publisher's own file as text/plain,
        or files as multipart/form-data. Parsing is strict: the first field that cannot be read is named.
        """
        task = service.deployment(model or CHAMPION).bundle.task  # not ready: say so before reading the body
        inputs = await read_inputs(request, service.settings, task.forms)
        name = request.state.request_id
        served = await service.predict(
            inputs, alias=model, request_id=name, pieces=explain in ("pieces", "true")
        )
        request.state.n_records, request.state.n_units = len(served.records), served.records.total_units

        def written() -> bytes:
            answer = predict_answer(served, name, members=explain in ("members", "true"))
            return answer.model_dump_json(exclude_none=True).encode()

        # a day's beats take a second to write, in which a server must answer others
        many = served.records.total_units > MANY_UNITS
        content = await anyio.to_thread.run_sync(written) if many else written()
        headers = {"X-Cohort": served.bundle.manifest.cohort}
        return Response(content, headers=headers, media_type="application/json")

    @app.get("/model", responses=problems(404, 422, 503), response_model_exclude_none=True)
    async def model_facts(service: TheService, model: Alias = None) -> ModelAnswer:
        """What the bundle's manifest says: where it comes from, how good it was found, what it is for."""
        return model_answer(service.deployment(model or CHAMPION), keeps(service))

    @app.get("/example", responses=problems(503), response_class=PlainTextResponse)
    async def example(service: TheService) -> Response:
        """One record in the publisher's own format, to try `/predict` with."""
        task = service.bundle.task
        kind = task.forms[0].media_types[0].replace("text/*", "text/plain")
        return Response(example_body(task), media_type=kind)


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
        description["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        description["info"]["version"] = bundle.digest[:12]
        app.openapi_schema = describe_predict(description, bundle.task, rows=rows_are_records(bundle.task))
    return app.openapi_schema
