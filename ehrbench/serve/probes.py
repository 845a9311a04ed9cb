"""Probes: what an operator's programs ask a server: whether it lives, is ready, answers well, and what with.

GET /livez     200 as long as the process answers at all
GET /readyz    200 when it may be sent requests: bundles are open and tested, and it is not being stopped
GET /healthz   the same for people and images: with the self-test's difference, or why it failed
GET /models    every alias, its bundle, and how challengers compare with the champion
GET /metrics   counts and times for Prometheus
"""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse, Response
from prometheus_client.core import Metric as Family

from ehrbench.serve.answers import DeploymentAnswer, HealthAnswer, ModelsAnswer, model_name
from ehrbench.serve.asked import TheService, problems
from ehrbench.serve.instruments import counter, gauge, info
from ehrbench.serve.service import Service

#: Paths that no limit of rate holds up: whoever looks after the server must always be answered.
UNLIMITED = frozenset({"/livez", "/readyz", "/healthz", "/metrics"})


def add_probes(app: FastAPI) -> None:
    """The endpoints above, and what they show of ``app.state.service``."""
    app.state.service.instruments.registry.register(_Gauges(app.state.service))

    @app.get("/livez", response_class=PlainTextResponse)
    async def live() -> str:
        """Whether the process answers; another should take its place where it does not."""
        return "ok\n"

    @app.get(
        "/readyz",
        response_class=PlainTextResponse,
        responses={503: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def ready(service: TheService) -> Response:
        """Whether requests may be sent: not before bundles are open and tested, nor while it is stopped."""
        return PlainTextResponse(f"{service.state}\n", 200 if service.state == "ok" else 503)

    @app.get("/healthz", responses={503: {"model": HealthAnswer}}, response_model_exclude_none=True)
    async def health(response: Response, service: TheService) -> HealthAnswer:
        """Whether the server predicts, and predicts what the exporting machine did."""
        answer = service.health()
        response.status_code = 200 if answer.status == "ok" else 503
        return answer

    @app.get("/models", responses=problems(503), response_model_exclude_none=True)
    async def models(service: TheService) -> ModelsAnswer:
        """Every alias, its bundle, what it has predicted, and how challengers compare with the champion."""
        service.deployment()
        plan = service.deployments.plan
        rows = [
            DeploymentAnswer(
                **model_name(one),
                since=one.since,
                canary_share=plan.canary.get(alias, 0.0),
                shadow_share=plan.shadow.get(alias, 0.0),
                live=service.tally(one).answer(),
            )
            for alias, one in service.deployments.current.items()
        ]
        return ModelsAnswer(models=rows, problems=dict(service.deployments.problems))

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics(service: TheService) -> Response:
        """Counts and times in Prometheus's text format; no record's id or value is among them."""
        return Response(
            service.instruments.text(), headers={"Content-Type": service.instruments.content_type}
        )


class _Gauges:
    """What is not counted but stands there, read when it is asked for."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterable[Family]:
        service = self._service
        current = service.deployments.current
        yield gauge("ready", "1 when requests may be sent", float(service.state == "ok"))
        yield gauge("waiting_requests", "Requests predicted now, or waiting for it", service.waiting)
        yield gauge(
            "deployment_problems",
            "Aliases that are not what they should be",
            len(service.deployments.problems),
        )
        yield info(
            "deployment",
            "What is deployed",
            (
                {"alias": a, "version": d.bundle.digest[:12], "study": d.bundle.manifest.study_name}
                for a, d in current.items()
            ),
        )
        if (store := service.store) is not None:
            yield gauge(
                "store_up", "1 while the database takes what is written", float(store.problem is None)
            )
            yield gauge("store_waiting_records", "Predicted records that are not written yet", store.waiting)
            yield counter("store_written_records", "Predicted records written", store.written)
            yield counter("store_dropped_records", "Predicted records that were not kept", store.dropped)
