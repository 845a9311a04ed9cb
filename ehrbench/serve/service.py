"""Service: one bundle being loaded, ready, failed or draining, and the threads that predict with it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, cast

import anyio
import anyio.to_thread

from ehrbench.core.errors import DataError, EhrbenchError
from ehrbench.core.records import Records
from ehrbench.core.task import RawInput
from ehrbench.runtime import Bundle, Prediction
from ehrbench.runtime.occlusion import Occlusion, occlusion
from ehrbench.serve.answers import HealthAnswer, State
from ehrbench.serve.inputs import packed
from ehrbench.serve.limits import ServeSettings
from ehrbench.serve.problems import Problem

log = logging.getLogger("ehrbench.serve")


class Service:
    """All state of a server; lives in ``app.state`` and is made anew for each app."""

    def __init__(self, directory: Path, settings: ServeSettings) -> None:
        self.settings = settings
        self.state: State = "loading"
        self.problem: str | None = None
        #: Called once when the bundle turns out not to be servable; ``run.serve`` stops the server then.
        self.on_failure: Callable[[EhrbenchError], None] | None = None
        self._directory = directory
        self._bundle: Bundle | None = None
        self._difference: float | None = None
        self._turns = anyio.CapacityLimiter(settings.concurrency)
        self._inside = 0  # predictions running or waiting

    @property
    def bundle(self) -> Bundle:
        """The loaded bundle; Problem 503 while there is none to predict with."""
        if self._bundle is None or self.state != "ok":
            reason = {
                "loading": "the bundle is still being loaded",
                "draining": "the server is shutting down",
            }.get(self.state, "the bundle cannot be used here")
            raise Problem(503, reason, remedy="see /healthz", retry_after_s=2)
        return self._bundle

    async def load(self) -> None:
        """Open the bundle and test it, in a thread; ends in state ``ok`` or ``failed``, never raises."""
        try:
            bundle, difference = await anyio.to_thread.run_sync(self._open)
        except EhrbenchError as error:
            self._fail(error, str(error))
        except Exception as error:
            log.exception("loading failed")  # the bundle's content, no patient's
            self._fail(EhrbenchError(f"{self._directory}: {error}"), f"{type(error).__name__} while loading")
        else:
            self._bundle, self._difference = bundle, difference
            if self.state == "loading":
                self.state = "ok"
            fields = {"version": bundle.digest, "cohort": bundle.manifest.cohort, "difference": difference}
            log.info("ready", extra={"fields": fields})

    def drain(self) -> None:
        """Take no more predictions; those running end as usual."""
        self.state = "draining"

    def health(self) -> HealthAnswer:
        return HealthAnswer(
            status=self.state,
            self_test_difference=self._difference,
            problem=self.problem,
            version=self._bundle.digest if self._bundle else None,
        )

    async def predict(
        self, inputs: Sequence[RawInput], *, pieces: bool = False
    ) -> tuple[Records, Prediction, Occlusion | None]:
        """Parse strictly and predict, in a thread, when its turn has come; ``pieces``: say on what it rests.

        Raises Problem 422 naming the wrong field, 413 for too many records, 503 when not ready or too many
        requests already wait.
        """
        bundle = self.bundle
        if self._inside >= self.settings.concurrency + self.settings.max_waiting:
            raise Problem(503, "too many requests are waiting", remedy="try again", retry_after_s=1)
        self._inside += 1
        try:
            return await anyio.to_thread.run_sync(self._predict, bundle, inputs, pieces, limiter=self._turns)
        finally:
            self._inside -= 1

    def _predict(
        self, bundle: Bundle, inputs: Sequence[RawInput], pieces: bool
    ) -> tuple[Records, Prediction, Occlusion | None]:
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
        return records, bundle.predict(records), found

    def _open(self) -> tuple[Bundle, float]:
        device = cast(Literal["cpu", "cuda"], self.settings.device)
        bundle = Bundle.load(self._directory, threads=self.settings.threads, device=device)
        return bundle, bundle.self_test()

    def _fail(self, error: EhrbenchError, problem: str) -> None:
        self.state, self.problem = "failed", problem
        if self.on_failure is not None:
            self.on_failure(error)
