"""What the ledger costs a trial: claim, start, one fit, finish; on SQLite and on a real MariaDB."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ehrbench.core.ledger import Fit, StudyKey
from ehrbench.infra.artifacts import FileArtifacts
from ehrbench.infra.database import Database
from ehrbench.infra.ledger import SqlLedger
from tests.infra.servers import MariaDb

TRIALS = 200


def measure(name: str, database: Database, folder: Path) -> None:
    """Print median and 95th percentile of each call, in ms."""
    ledger = SqlLedger(database.engine, FileArtifacts(folder / "artifacts"))
    key = StudyKey("benchmark", "task", "model", 0)
    ledger.open_study(key, "d" * 64, {})
    fit = Fit(0, 1, 0.5, 3, 1.0, "0" * 64, None, "1" * 64, ((1, {"loss": 0.5}),))
    taken: dict[str, list[float]] = {"claim": [], "start": [], "record_fit": [], "finish": []}

    def timed(call: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        done = work()
        taken[call].append(1000 * (time.perf_counter() - began))
        return done

    for _ in range(TRIALS):
        ticket = timed("claim", lambda: ledger.claim(key, TRIALS, "worker"))
        ticket = timed("start", lambda t=ticket: ledger.start(t, {"rate": 0.1}, 3))
        timed("record_fit", lambda t=ticket: ledger.record_fit(t, fit))
        timed("finish", lambda t=ticket: ledger.finish(t, "complete", 0.5))
    taken["all four"] = [sum(calls) for calls in zip(*taken.values(), strict=True)]
    for call, times in taken.items():
        ordered = sorted(times)
        median, p95 = statistics.median(times), ordered[int(0.95 * TRIALS)]
        print(f"{name:8} {call:10} median {median:6.2f} ms  p95 {p95:6.2f} ms")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        measure("sqlite", Database.sqlite(Path(folder) / "ledger.db"), Path(folder))
        server = MariaDb(Path(folder))
        try:
            measure("mariadb", server.database("benchmark"), Path(folder))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
