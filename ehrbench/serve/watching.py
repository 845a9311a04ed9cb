"""Watching: what a server says of how its bundles do, from what it keeps.

    GET /monitoring    a page for people, the same as JSON for programs
    GET /report?n=     one HTML file of the latest n records, whole in itself, to keep or send
    GET /metrics       the gauges below, as of the last look

Looked at when asked, and every ``monitor_s`` seconds; one look at a time, in a thread. A server without a
store answers these with 404.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import anyio.to_thread
from fastapi import FastAPI, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.core import Metric as Family

from ehrbench.serve.asked import Alias, TheService, problems
from ehrbench.serve.deployments import CHAMPION, Deployment
from ehrbench.serve.keeping import asked, kept_at_all
from ehrbench.serve.problems import Problem
from ehrbench.serve.report_page import PAGE, report_page
from ehrbench.serve.service import Service

if TYPE_CHECKING:
    from ehrbench.monitor.observed import Observed

log = logging.getLogger("ehrbench.serve")
#: For so many times as long as a look took, what it found is shown again: watching is never much of the work.
FRESH = 10
#: Until the first look, where ``monitor_s`` is longer.
FIRST_S = 10.0
Latest = Annotated[
    int, Query(ge=100, le=50_000, description="How many of the latest records are compared with training")
]
By = Annotated[
    Literal["ehrbench", "evidently"], Query(description="Who draws it; evidently, where it is installed")
]


class StoreWatch:
    """Looks at each deployed version, and what the last look found. One for each app."""

    def __init__(self, service: Service) -> None:
        self.service = service
        #: version -> what the last look at it found.
        self.found: dict[str, dict[str, Any]] = {}
        self._fresh: dict[tuple[str, int], tuple[float, dict[str, Any]]] = {}
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Look at all that is deployed as long as the server runs; nothing that goes wrong stops it."""
        while True:
            await asyncio.sleep(min(self.service.settings.monitor_s, FIRST_S if not self.found else 1e9))
            for deployment in list(self.service.deployments.current.values()):
                try:
                    await self.look(deployment)
                except Problem:  # the store is away, which its own gauge says
                    continue
                except Exception:
                    log.exception("not monitored", extra={"fields": {"alias": deployment.alias}})

    async def look(self, deployment: Deployment, n: int | None = None) -> dict[str, Any]:
        """What monitoring finds now, or found moments ago; n: of ``monitoring``."""
        from ehrbench.monitor.monitoring import LATEST, monitoring

        n = n or LATEST
        key = deployment.bundle.digest, n
        async with self._turn:
            began = time.monotonic()
            self._fresh = {of: one for of, one in self._fresh.items() if began < one[0]}
            if key in self._fresh:
                return self._fresh[key][1]
            observed = await self.observed(deployment)
            answer = await anyio.to_thread.run_sync(monitoring, watched(deployment), observed, n)
            now = time.monotonic()
            self._fresh[key] = now + FRESH * (now - began), answer
            self.found[deployment.bundle.digest] = answer
            return answer

    async def observed(self, deployment: Deployment) -> Observed:
        """What is kept of its bundle's version."""
        from ehrbench.serve.kept_observed import kept_rows, observed

        bundle = deployment.bundle
        rows = await asked(self.service, lambda connection: kept_rows(connection, bundle.digest))
        n_columns = len(bundle.profile.variables) if bundle.profile else 0
        return await anyio.to_thread.run_sync(observed, rows, bundle.manifest.target.n_classes, n_columns)

    def collect(self) -> Iterable[Family]:
        """Gauges of the last looks."""
        current = {one.bundle.digest for one in self.service.deployments.current.values()}
        found = {version[:12]: one for version, one in self.found.items() if version in current}
        for name, says, value in _SINGLE:
            family = GaugeMetricFamily(f"ehrbench_{name}", says, labels=["version"])
            for version, one in found.items():
                family.add_metric([version], float(value(one)))
            yield family
        alarms = GaugeMetricFamily(
            "ehrbench_monitoring_alarms", "Alarms that stand", labels=["version", "kind"]
        )
        live = GaugeMetricFamily(
            "ehrbench_live_figure",
            "By outcomes told, and promised",
            labels=["version", "class", "figure", "of"],
        )
        for version, one in found.items():
            for kind in ("drift", "missingness", "discrimination", "calibration", "false_alarms"):
                alarms.add_metric([version, kind], sum(a["kind"] == kind for a in one["alarms"]))
            for name, of_class in one["classes"].items():
                told = {
                    "outcomes": of_class["figures"] or {},
                    "promised": of_class["promised"] or {},
                    "expected": {"auroc": of_class["expected"]["auroc"]},
                }
                for source, figures in told.items():
                    for figure, said in figures.items():
                        if said["value"] is not None:
                            live.add_metric([version, name, figure, source], said["value"])
        yield alarms
        yield live


_PAGE = {"text/html": {"schema": {"type": "string"}}}
#: Gauges that have one number a version.
_SINGLE: tuple[tuple[str, str, Any], ...] = (
    ("monitored_records", "Records of the last look", lambda one: one["records"]),
    ("monitored_outcomes", "Units with an outcome", lambda one: one["labelled"]),
    ("drift_looks", "Looks for drift so far", lambda one: one["drift"]["looks"]),
    (
        "drift_columns",
        "Columns whose values or missingness are others than in training, by the newest looks",
        lambda one: len({shift["column"] for shift in one["drift"]["shifts"] if shift["active"]}),
    ),
    ("retrain_proposed", "1 where a retraining is proposed", lambda one: one["proposal"]["retrain"]),
)


def watched(deployment: Deployment) -> Any:
    """A deployed bundle as the monitor knows it."""
    from ehrbench.monitor.monitoring import Watched

    bundle = deployment.bundle
    return Watched(bundle.digest, bundle.manifest, bundle.profile, len(bundle.training_groups))


def add_watching(app: FastAPI) -> StoreWatch:
    """The endpoints above, and the gauges."""
    watch = StoreWatch(app.state.service)
    watch.service.instruments.registry.register(watch)

    @app.get(
        "/monitoring", responses={**problems(404, 422, 503), 200: {"model": dict[str, Any], "content": _PAGE}}
    )
    async def monitored(
        request: Request, service: TheService, model: Alias = None, n: Latest = 1000
    ) -> Response:
        """How a deployed bundle does: drift, figures by outcomes, expected ones, alarms. HTML for
        browsers."""
        if "text/html" in request.headers.get("accept", ""):
            return FileResponse(PAGE)
        kept_at_all(service)
        return JSONResponse(await watch.look(service.deployment(model or CHAMPION), n))

    @app.get("/report", responses={**problems(404, 422, 503), 200: {"content": _PAGE}})
    async def report(
        service: TheService, model: Alias = None, n: Latest = 1000, by: By = "ehrbench"
    ) -> HTMLResponse:
        """The latest n records beside training, as one HTML file that needs nothing else."""
        kept_at_all(service)
        deployment = service.deployment(model or CHAMPION)
        if by == "ehrbench":
            return HTMLResponse(report_page(await watch.look(deployment, n)))
        return HTMLResponse(await _by_evidently(watch, deployment, n))

    return watch


async def _by_evidently(watch: StoreWatch, deployment: Deployment, n: int) -> str:
    from ehrbench.monitor.evidently_report import NotInstalled, evidently_report

    profile = deployment.bundle.profile
    if profile is None:
        raise Problem(404, "the bundle has no profile", remedy="export it again")
    observed = (await watch.observed(deployment)).latest(n)
    try:
        return await anyio.to_thread.run_sync(evidently_report, profile, observed)
    except NotInstalled as error:
        raise Problem(404, str(error), field="by", remedy="ask without by, or install evidently") from error
