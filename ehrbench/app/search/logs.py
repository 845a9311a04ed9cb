"""Logs of local workers: the folder that they write to, and the address that these are sent to at the end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ehrbench.app.composed.blocks import Settings
from ehrbench.core.places import is_address
from ehrbench.core.run_folder import RunFolder
from ehrbench.infra.artifacts import file_system
from ehrbench.infra.settings import Environment


@contextmanager
def logs_of(settings: Settings, run: RunFolder) -> Iterator[Path]:
    """The folder for workers' logs: the run's own, or ``logs_dir``, in a folder of the run's name.

    An object store has no lines to add to a file: where ``logs_dir`` is an address, logs are written to the
    run's folder and sent there once the workers have ended, however that was. Raises ConfigError for an
    address that nothing here can write to.
    """
    where = settings.logs_dir
    if where is None or not is_address(where):
        yield Path(where) / run.name if where else run.path
        return
    files, root = file_system("logs_dir", where, Environment.read().object_store_options())
    try:
        yield run.path
    finally:
        for log in sorted(run.path.glob("worker-*.log")):
            try:
                files.pipe_file(f"{root}/{run.name}/{log.name}", log.read_bytes())
            except Exception as error:  # each client raises its own kinds; a lost log must cost no search
                said = " ".join(str(error).split()) or type(error).__name__
                print(f"logs_dir: {where} cannot be written ({said}): see {log}", file=sys.stderr)
