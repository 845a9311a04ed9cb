"""Store: what a server keeps of its predictions, so that outcomes can be told of them and models learn again.

    served_inputs        a posted body, as it came; only where inputs are kept
    served_predictions   one row a predicted record: its units' probabilities and calls, by which version
    served_described     into which bins of the bundle's profile its described values fall (``monitor``)
    served_outcomes      what became of a predicted unit, as often as it is told; the last one counts
    served_audit         what was deleted, when, and by whose key; never whose record it was

One thread writes, in batches, in the background: a prediction is never held up, and never fails, for what is
around it. What waits is bounded in rows and bytes; where the database is full or away, rows wait as long as
they fit, then they are dropped and counted. What must not be lost (an outcome, a deletion) is asked of the
same thread, behind everything that was predicted before, and its answer is waited for.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy import (
    Connection,
    Engine,
)
from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError, SQLAlchemyError

from ehrbench.core.errors import StorageError
from ehrbench.core.task import RawInput
from ehrbench.serve.forgetting import sweep
from ehrbench.serve.kept_requests import KeptRequest, insert_requests, kept_request
from ehrbench.serve.kept_tables import metadata, utc_now
from ehrbench.serve.limits import StoreSettings
from ehrbench.serve.served import Served

T = TypeVar("T")
log = logging.getLogger("ehrbench.serve")

#: Rows of one transaction.
BATCH = 500
#: How long rows may wait for company before they are written.
GATHERED_S = 0.2
#: Between two tries of a database that is away, doubled each time, and the longest of these pauses.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
#: Between two looks for what is older than is kept.
SWEEP_S = 3600.0

#: What no other try would mend: rows that do not fit their columns, or stand there already.
REFUSED = (DataError, IntegrityError, ProgrammingError)


class PredictionStore:
    """The tables above on one engine, and the thread that writes them.

    ``keep`` and ``ask`` may be called from any thread; neither waits for the database.
    """

    def __init__(self, engine: Engine, settings: StoreSettings | None = None) -> None:
        self.settings = settings or StoreSettings()
        #: Predicted records since the start; problem: why the database takes none now, None where it does.
        self.written = self.dropped = 0
        self.problem: str | None = None
        self._engine, self._made = engine, False
        self._rows: deque[KeptRequest] = deque()
        self._jobs: deque[tuple[Callable[[Connection], Any], Future[Any]]] = deque()
        self._n_rows = self._n_bytes = 0
        self._swept_at = -SWEEP_S
        self._changed, self._closing = threading.Condition(), False
        self._thread = threading.Thread(target=self._run, name="prediction-store", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Predicted records that are not written yet."""
        return self._n_rows

    def keep(self, served: Served, inputs: Sequence[RawInput], request_id: str) -> None:
        """Have a request's predictions written soon, or drop and count them where too much waits already."""
        request = kept_request(served, inputs if self.settings.inputs else (), request_id)
        n_rows, n_bytes = len(request.predictions), request.n_bytes
        with self._changed:
            full = (
                self._n_rows + n_rows > self.settings.max_waiting_records
                or self._n_bytes + n_bytes > self.settings.max_waiting_bytes
            )
            if full or self._closing:
                self.dropped += n_rows
                return
            self._rows.append(request)
            self._n_rows, self._n_bytes = self._n_rows + n_rows, self._n_bytes + n_bytes
            self._changed.notify()

    def ask(self, job: Callable[[Connection], T]) -> Future[T]:
        """``job`` in a transaction of its own, behind all that was kept before.

        The future raises StorageError where the database is away: a job never waits for it to come back.
        """
        future: Future[T] = Future()
        with self._changed:
            if self._closing:
                future.set_exception(StorageError("the store is closed — ask again when the server is back"))
                return future
            self._jobs.append((job, future))
            self._changed.notify()
        return future

    def close(self, timeout_s: float = 10) -> None:
        """Write what waits, for so long at most, and let the database go; what is left is dropped."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)
        if self._n_rows:
            self.dropped += self._n_rows
            log.error("predictions not kept", extra={"fields": {"n_records": self._n_rows}})
        if not self._thread.is_alive():
            self._engine.dispose()

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            with self._changed:
                if not (self._rows or self._jobs or self._closing):
                    self._changed.wait(SWEEP_S)
                if self._rows:  # every request wakes this thread
                    self._changed.wait_for(self._gathered, GATHERED_S)
                requests, jobs = self._taken(), list(self._jobs)
                self._jobs.clear()
                closing = self._closing
            try:
                self._write(requests)
            except REFUSED as error:  # it will not be taken later either
                self._let_go(requests, error)
            except (SQLAlchemyError, OSError) as error:
                self._failed(error)
                for _, future in jobs:
                    if future.set_running_or_notify_cancel():
                        future.set_exception(self._away())
                if closing:
                    return
                with self._changed:
                    if not self._jobs:
                        self._changed.wait(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            else:
                self._come_back(requests)
            pause_s = FIRST_PAUSE_S
            if self._rows and jobs:  # more than a batch waited: its turn comes first
                with self._changed:
                    self._jobs.extendleft(reversed(jobs))
                continue
            for job, future in jobs:
                self._do(job, future)
            if time.monotonic() - self._swept_at > SWEEP_S:
                self._sweep()
            if closing and not self._rows:
                return

    def _gathered(self) -> bool:
        return self._n_rows >= BATCH or bool(self._jobs) or self._closing

    def _taken(self) -> list[KeptRequest]:
        """The first requests that wait, about a batch of records; they stay until they are written."""
        taken, n = list[KeptRequest](), 0
        for request in self._rows:
            if taken and n + len(request.predictions) > BATCH:
                break
            taken.append(request)
            n += len(request.predictions)
        return taken

    def _write(self, requests: Sequence[KeptRequest]) -> None:
        if not requests and self._made:
            return
        with self._engine.begin() as connection:
            if not self._made:
                metadata.create_all(connection)
            insert_requests(connection, requests)
        self._made = True

    def _come_back(self, requests: Sequence[KeptRequest]) -> None:
        if self.problem is not None:
            self.problem = None
            log.info("store is back", extra={"fields": {"waiting": self._n_rows}})
        self.written += self._removed(requests)

    def _let_go(self, requests: Sequence[KeptRequest], error: Exception) -> None:
        self.dropped += (n := self._removed(requests))
        fields = {"error": type(getattr(error, "orig", None) or error).__name__, "n_records": n}
        log.error("predictions not kept", extra={"fields": fields})

    def _removed(self, requests: Sequence[KeptRequest]) -> int:
        """Take the first requests out of those that wait; how many records that were."""
        with self._changed:
            for _ in requests:
                request = self._rows.popleft()
                self._n_rows -= len(request.predictions)
                self._n_bytes -= request.n_bytes
        return sum(len(request.predictions) for request in requests)

    def _failed(self, error: Exception) -> None:
        kind = type(getattr(error, "orig", None) or error).__name__  # its message may quote a value
        if self.problem is None:
            log.error("store is away", extra={"fields": {"error": kind, "waiting": self._n_rows}})
        self.problem = f"the database does not take what is written ({kind})"

    def _away(self) -> StorageError:
        return StorageError(f"store: {self.problem} — ask again later")

    def _do(self, job: Callable[[Connection], Any], future: Future[Any]) -> None:
        if not future.set_running_or_notify_cancel():  # nobody waits for it any more
            return
        try:
            with self._engine.begin() as connection:
                result = job(connection)
        except (SQLAlchemyError, OSError) as error:
            self._failed(error)
            future.set_exception(self._away())
        except Exception as error:  # of the job itself, told to whoever asked
            future.set_exception(error)
        else:
            future.set_result(result)

    def _sweep(self) -> None:
        self._swept_at = time.monotonic()
        before = utc_now() - timedelta(days=self.settings.retention_days)
        self._do(lambda connection: sweep(connection, before), Future())
