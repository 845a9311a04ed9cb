"""Service: deployed bundles, loading, ready, failed or draining, and the threads that predict with them."""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from ehrbench.core.errors import DataError, EhrbenchError
from ehrbench.core.task import RawInput
from ehrbench.runtime import Bundle
from ehrbench.runtime.contributions import tree_contributions
from ehrbench.runtime.occlusion import occlusion
from ehrbench.serve.answers import HealthAnswer, State
from ehrbench.serve.bodies import packed
from ehrbench.serve.challenge import Tally
from ehrbench.serve.deployments import CHAMPION, Deployment, Deployments
from ehrbench.serve.fresh_names import FreshNames
from ehrbench.serve.instruments import Instruments
from ehrbench.serve.keys import ApiKeys
from ehrbench.serve.limits import ServeSettings
from ehrbench.serve.problems import Problem
from ehrbench.serve.served import Served, sources_of

if TYPE_CHECKING:  # a server that keeps nothing has no database
    from ehrbench.serve.store import PredictionStore

log = logging.getLogger("ehrbench.serve")
#: Requests that may wait to be predicted by a challenger, too; more are left out.
MOST_SHADOWS = 4


class Service:
    """All state of a server; lives in ``app.state`` and is made anew for each app."""

    def __init__(
        self,
        place: Path,
        settings: ServeSettings,
        store: PredictionStore | None = None,
        keys: ApiKeys | None = None,
    ) -> None:
        self.settings, self.store, self.keys = settings, store, keys or ApiKeys({})
        self.deployments = Deployments(place, settings)
        self.instruments, self.tokens = Instruments(), FreshNames()
        self.state: State = "loading"
        self.problem: str | None = None
        #: Called once when the bundle turns out not to be servable; ``run.serve`` stops the server then.
        self.on_failure: Callable[[EhrbenchError], None] | None = None
        self.tallies: dict[tuple[str, str], Tally] = {}
        self._turns = anyio.CapacityLimiter(settings.concurrency)
        #: Streams leave a turn to whoever asks for one record.
        self._stream_turns = anyio.CapacityLimiter(max(settings.concurrency - 1, 1))
        self._shadow_turn = anyio.CapacityLimiter(1)
        self._shadows: set[asyncio.Task[None]] = set()
        self._inside = 0  # predictions running or waiting
        self.streams = 0

    @property
    def waiting(self) -> int:
        """Requests that are predicted, or wait for it."""
        return self._inside

    @property
    def bundle(self) -> Bundle:
        """The champion's bundle; Problem 503 while there is none to predict with."""
        return self.deployment().bundle

    def deployment(self, alias: str = CHAMPION) -> Deployment:
        """By its alias. Problem 503 while none is ready, 404 for an alias that there is not."""
        found = self.deployments.current
        if not found or self.state not in ("ok", "draining"):
            reason = "the bundle is still being loaded" * (self.state == "loading")
            raise Problem(
                503, reason or "the bundle cannot be used here", remedy="see /healthz", retry_after_s=2
            )
        if alias not in found:
            raise Problem(404, "no such model", field="model", remedy=f"name one of {', '.join(found)}")
        return found[alias]

    def chosen(self, alias: str | None, request_id: str) -> Deployment:
        """Who answers: whom the request names, else a canary for its share of them, else the champion."""
        named = self.deployment(alias or CHAMPION)
        if alias is not None:
            return named
        return self.deployments.share_of(self.deployments.plan.canary, _chance(request_id)) or named

    async def load(self) -> None:
        """Open the bundles and test them, in a thread; ends in state ``ok`` or ``failed``, never raises."""
        try:
            await anyio.to_thread.run_sync(self._open)
        except EhrbenchError as error:
            self._fail(error, str(error))
        except Exception as error:
            log.exception("loading failed")  # the bundle's content, no patient's
            place = self.deployments.place
            self._fail(EhrbenchError(f"{place}: {error}"), f"{type(error).__name__} while loading")
        else:
            if self.state == "loading":
                self.state = "ok"
            bundle = self.deployments.current[CHAMPION].bundle
            log.info("ready", extra={"fields": {"version": bundle.digest, "cohort": bundle.manifest.cohort}})

    async def watch(self) -> None:
        """Follow the aliases for as long as the server runs; nothing that goes wrong here stops it."""
        while True:
            await asyncio.sleep(self.settings.watch_s)
            if self.state != "ok":
                continue
            try:
                await anyio.to_thread.run_sync(self.deployments.refresh)
            except Exception:
                log.exception("aliases not followed")

    def drain(self) -> None:
        """Say that no more should come (``/readyz``); what still comes is answered as usual."""
        self.state = "draining"

    async def close(self) -> None:
        """End what runs beside the answers, and write what waits to be kept."""
        for task in self._shadows:
            task.cancel()
        if self.store is not None:
            await anyio.to_thread.run_sync(self.store.close)

    def health(self) -> HealthAnswer:
        champion = self.deployments.current.get(CHAMPION)
        return HealthAnswer(
            status=self.state,
            self_test_difference=champion.difference if champion else None,
            problem=self.problem,
            version=champion.bundle.digest if champion else None,
        )

    async def predict(
        self,
        inputs: Sequence[RawInput],
        *,
        alias: str | None = None,
        request_id: str = "",
        pieces: bool = False,
    ) -> Served:
        """Parse strictly and predict, in a thread, when its turn has come; ``pieces``: say on what it rests.

        Raises Problem 422 naming the wrong field, 413 for too many records, 503 when not ready or too many
        requests already wait.
        """
        deployment = self.chosen(alias, request_id)
        if self._inside >= self.settings.concurrency + self.settings.max_waiting:
            raise Problem(503, "too many requests are waiting", remedy="try again", retry_after_s=1)
        self._inside += 1
        try:
            served = await self._timed(deployment, inputs, pieces, self._turns)
        finally:
            self._inside -= 1
        self._follow(served, inputs, alias, request_id)
        return served

    async def predict_part(
        self, deployment: Deployment, inputs: Sequence[RawInput], request_id: str
    ) -> Served:
        """As ``predict``, for a part of a stream: it waits as long as it takes, and is not shadowed."""
        async with self._stream_turns:
            served = await self._timed(deployment, inputs, False, self._turns)
        self._keep(served, inputs, request_id)
        return served

    async def _timed(
        self, deployment: Deployment, inputs: Sequence[RawInput], pieces: bool, turns: anyio.CapacityLimiter
    ) -> Served:
        served, seconds = await anyio.to_thread.run_sync(
            self._predict, deployment, inputs, pieces, limiter=turns
        )
        self.tally(deployment).add(served.called, 1000 * seconds)
        probabilities = served.prediction.probabilities
        self.instruments.predicted(deployment.alias, deployment.bundle, len(served.records), probabilities)
        return served

    def tally(self, deployment: Deployment) -> Tally:
        """Of an alias since it took its bundle."""
        key = deployment.alias, deployment.bundle.digest
        return self.tallies.setdefault(key, Tally(deployment.bundle.manifest.target.classes))

    def _follow(self, served: Served, inputs: Sequence[RawInput], alias: str | None, request_id: str) -> None:
        """What comes after a prediction, and never holds it up: keeping it, and the shadow's turn."""
        self._keep(served, inputs, request_id)
        if alias is not None or served.deployment.alias != CHAMPION:
            return
        plan = self.deployments.plan
        challenger = self.deployments.share_of(plan.shadow, _chance(f"shadow {request_id}"))
        if challenger is None:
            return
        if len(self._shadows) >= MOST_SHADOWS or self._inside >= self.settings.concurrency:
            self.tally(challenger).left_out += 1
            return
        task = asyncio.create_task(self._shadow(challenger, served, inputs))
        self._shadows.add(task)
        task.add_done_callback(self._shadows.discard)

    async def _shadow(self, challenger: Deployment, champion: Served, inputs: Sequence[RawInput]) -> None:
        tally = self.tally(challenger)
        try:
            found, seconds = await anyio.to_thread.run_sync(
                self._predict, challenger, inputs, False, limiter=self._shadow_turn
            )
            tally.add(found.called, 1000 * seconds)
            tally.compare(
                found.prediction.probabilities,
                found.called,
                champion.prediction.probabilities,
                champion.called,
            )
        except Exception as error:  # the champion has answered already
            tally.failed += 1
            fields = {"alias": challenger.alias, "error": type(error).__name__}
            log.error("shadow failed", extra={"fields": fields})

    def _keep(self, served: Served, inputs: Sequence[RawInput], request_id: str) -> None:
        if self.store is None:
            return
        try:
            self.store.keep(served, inputs, request_id)
        except Exception as error:  # a fault of ours; the prediction is made
            log.error("prediction not kept", extra={"fields": {"error": type(error).__name__}})

    def _predict(
        self, deployment: Deployment, inputs: Sequence[RawInput], pieces: bool
    ) -> tuple[Served, float]:
        """What one request gets, and the seconds it took."""
        began, bundle = time.perf_counter(), deployment.bundle
        try:
            records = bundle.task.parse(inputs, strict=True).records
        except DataError as error:
            raise packed(inputs) or Problem.of(error) from error
        if len(records) > self.settings.max_records:
            remedy = f"post at most {self.settings.max_records}"
            raise Problem(413, f"{len(records)} records in one request", remedy=remedy)
        if records.total_units > (most := self.settings.max_units):
            units = bundle.task.words.units
            problem = f"{records.total_units:,} {units} in one request"
            raise Problem(413, problem, remedy=f"post at most {most:,} {units}")
        try:
            found = occlusion(bundle, records) if pieces else None
        except DataError as error:
            raise Problem.of(error) from error
        prediction = bundle.predict(records)
        served = Served(
            deployment=deployment,
            records=records,
            prediction=prediction,
            called=bundle.called(prediction),
            evidence=found,
            contributions=tree_contributions(bundle, records) if pieces else {},
            token=self.tokens.fresh(8),
            sources=sources_of(bundle, inputs, len(records)),
        )
        return served, time.perf_counter() - began

    def _open(self) -> None:
        self.deployments.refresh(first=True)

    def _fail(self, error: EhrbenchError, problem: str) -> None:
        self.state, self.problem = "failed", problem
        if self.on_failure is not None:
            self.on_failure(error)


def _chance(text: str) -> float:
    """Of a request's id, from [0, 1): the same request falls to the same side again."""
    return zlib.crc32(text.encode()) / 2**32
