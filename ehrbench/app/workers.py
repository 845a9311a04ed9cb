"""Local workers: further processes of the same command that help to spend its tickets."""

from __future__ import annotations

import os
import subprocess
import sys
from types import TracebackType
from typing import Self

#: Set in a worker's environment: it spends tickets and leaves the rest to the command that started it.
WORKER = "EHRBENCH_WORKER"


class LocalWorkers:
    """Context manager: starts ``n`` workers, and waits for them (or ends them, on an error) at its end."""

    def __init__(self, n: int, arguments: list[str]) -> None:
        self._n, self._arguments = n, arguments
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        for number in range(self._n):
            environment = {**os.environ, WORKER: str(number + 1)}
            command = [sys.executable, *self._arguments]
            self._processes.append(subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            if kind is not None:
                process.terminate()
        for process in self._processes:
            process.wait()


def is_worker() -> bool:
    return WORKER in os.environ
