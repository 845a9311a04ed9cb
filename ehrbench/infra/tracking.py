"""MlflowTracker: MLflow as a copy of the ledger that catches up, and that nothing ever waits for.

Each call appends a line to a local spool and returns; a daemon thread replays the spool into MLflow. While
the server is down, slow or full, the spool grows and training goes on; the thread tries again with growing
pauses, and the next process adopts what a dead one has left. MLflow is imported in the thread alone.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ehrbench.infra.mlflow_replay import MlflowReplay
from ehrbench.infra.spool import Spool

logger = logging.getLogger(__name__)

_BATCH = 500
_LONGEST_PAUSE_S = 30.0
_AWAY_S = 10.0  # what the end of a search waits for a sign of life from a server that did not answer last


class MlflowTracker:
    """``core.tracker.Tracker`` over MLflow.

    uri: ``http(s)://…`` or ``sqlite:///…``; experiment: made if it is not there.
    spool_dir: a folder of this machine; workers may share it.
    """

    def __init__(self, uri: str, experiment: str, spool_dir: Path) -> None:
        self._folder = spool_dir
        self._spool = Spool.create(spool_dir)
        self._replay = MlflowReplay(uri, experiment, spool_dir)
        self._news, self._closing = threading.Event(), threading.Event()
        self._left = 0  # in orphans
        self._full = self._away = False
        self._thread = threading.Thread(target=self._run, name="mlflow", daemon=True)
        self._thread.start()

    # --- calls: append and return ------------------------------------------------------------------------

    def run(
        self,
        key: str,
        *,
        name: str,
        parent: str | None = None,
        tags: Mapping[str, str] | None = None,
        at: float | None = None,
    ) -> None:
        self._append("run", key, at, name=name, parent=parent, tags=dict(tags or {}))

    def params(self, key: str, params: Mapping[str, object]) -> None:
        self._append("params", key, params={name: str(value) for name, value in params.items()})

    def metrics(self, key: str, values: Mapping[str, float], step: int = 0) -> None:
        self._append("metrics", key, values={n: float(v) for n, v in values.items()}, step=step)

    def artifact(self, key: str, path: Path, folder: str = "") -> None:
        self._keep("artifact", key, path, folder=folder)

    def dataset(self, key: str, name: str, digest: str, facts: Mapping[str, object]) -> None:
        self._append("dataset", key, name=name, digest=digest, facts=dict(facts))

    def model(self, key: str, name: str, path: Path) -> None:
        self._keep("model", key, path, name=name)

    def end(self, key: str, state: str = "FINISHED", at: float | None = None) -> None:
        self._append("end", key, at, state=state)

    def close(self, timeout_s: float = 30.0) -> int:
        self._closing.set()
        self._news.set()
        deadline = time.monotonic() + timeout_s
        if self._away:
            self._thread.join(min(timeout_s, _AWAY_S))
        if not self._away:
            self._thread.join(max(deadline - time.monotonic(), 0.0))
        left = self._spool.waiting() + self._left
        if not self._thread.is_alive():
            self._spool.close()
        return left

    def _keep(self, kind: str, key: str, path: Path, **content: Any) -> None:
        try:
            kept = self._spool.keep(path)
        except OSError as error:
            logger.warning("%s is not copied to MLflow: %s", path, error)
            return
        self._append(kind, key, kept=kept, **content)

    def _append(self, kind: str, key: str, at: float | None = None, **content: Any) -> None:
        at_ms = time.time_ns() // 1_000_000 if at is None else round(at * 1000)
        try:
            self._spool.append({"do": kind, "key": key, "at_ms": at_ms, **content})
        except OSError as error:
            if not self._full:
                logger.warning("the tracking spool cannot be written, MLflow will miss calls: %s", error)
            self._full = True
        self._news.set()

    # --- the thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        orphans = Spool.adopt_orphans(self._folder)
        while orphans:
            self._left = sum(spool.waiting() for spool in orphans)
            if not self._drain(orphans[0], doubted=_BATCH):
                for spool in orphans:
                    spool.close()
                return
            orphans.pop(0).close()
        self._left = 0
        while True:
            self._news.clear()  # first: the end, too, is news
            closing = self._closing.is_set()  # read before draining: what came before it is taken
            if not self._drain(self._spool) or closing:
                return
            self._news.wait()
            self._closing.wait(0.2)  # let calls gather into one batch

    def _drain(self, spool: Spool, doubted: int = 0) -> bool:
        """Replay all that the spool holds; False when closing came while the server was away.

        doubted: how many calls, from the next one on, the server may have taken already, as those of a batch
        whose answer was lost or whose sender died.
        After a fault a single call goes first, then twice as many each time: a server that is back is soon
        known to be.
        """
        pause_s, quiet, size = 0.5, False, _BATCH
        while True:
            try:
                events, offset = spool.batch(size)
                if not events:
                    return True
                self._replay.send(events, doubtful=doubted > 0)
                spool.done(offset)
                doubted -= len(events)
                for event in events:
                    self._replay.forget_files(event)
                pause_s, quiet, self._away = 0.5, False, False
                size = min(2 * size, _BATCH)
            except Exception as error:  # whatever MLflow raises: the spool keeps the calls
                if not quiet:
                    logger.warning(
                        "MLflow does not answer, calls are kept in %s: %s", spool.path, _line(error)
                    )
                quiet, self._away, size, doubted = True, True, 1, _BATCH
                self._replay.doubt()
                if self._closing.is_set():
                    return False
                self._closing.wait(pause_s * random.uniform(0.5, 1.0))
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _line(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
