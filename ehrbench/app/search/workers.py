"""Local workers: further processes of the same command that help to spend its tickets."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from ehrbench.app.wired.gpus import VISIBLE
from ehrbench.core.errors import StorageError

#: Set in a worker's environment: it spends tickets and leaves the rest to the command that started it.
WORKER = "EHRBENCH_WORKER"


class LocalWorkers:
    """Context manager: starts ``n`` workers, and waits for them (or ends them, on an error) at its end.

    Each writes its progress to ``<folder>/worker-<number>.log``: one terminal shows one process. A worker
    that fails is reported and missed by nobody, since others take its tickets over. With ``gpus``, each
    process, this one too, has one of them to itself, or shares it where there are more processes.
    """

    def __init__(self, n: int, arguments: list[str], folder: Path, gpus: Sequence[str] = ()) -> None:
        self._n, self._arguments, self._folder, self._gpus = n, arguments, folder, gpus
        self._processes: dict[Path, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        os.environ.update(self._own_gpu(0))
        self._make_folder()
        for number in range(1, self._n + 1):
            environment = {**os.environ, WORKER: str(number), **self._own_gpu(number)}
            log = self._folder / f"worker-{number}.log"
            with log.open("wb") as file:
                self._processes[log] = subprocess.Popen(
                    [sys.executable, *self._arguments],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            for process in self._processes.values():
                process.terminate()
        for log, process in self._processes.items():
            if process.wait() != 0 and kind is None:
                print(f"a worker ended early (exit code {process.returncode}): see {log}", file=sys.stderr)

    def _make_folder(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"LOGS_DIR: {self._folder} cannot be made ({error.strerror}) — name another"
            ) from error

    def _own_gpu(self, number: int) -> dict[str, str]:
        return {VISIBLE: self._gpus[number % len(self._gpus)]} if self._gpus else {}


def is_worker() -> bool:
    return WORKER in os.environ
