"""The scripts of ``experiments/`` as a user starts them: processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["protocol=smoke", "models=[logistic]", "tracker=none", "report.explained=0"]


def start(script: str, *arguments: str, data: Path, hidden: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """A process of it; ``hidden`` packages cannot be imported there."""
    environment = {**os.environ, "EHRBENCH_DATA": str(data), "EHRBENCH_CACHE": str(data / "cache")}
    environment |= {"OMP_NUM_THREADS": "1", "COLUMNS": "160"}
    environment["MPLCONFIGDIR"] = str(data / "matplotlib")  # empty, as on a fresh machine
    command = [sys.executable, str(ROOT / "experiments" / script), *arguments]
    if hidden:
        hide = f"import runpy, sys; sys.modules.update(dict.fromkeys({hidden!r})); del sys.argv[0]"
        command[1:1] = ["-c", f"{hide}; runpy.run_path(sys.argv[0], run_name='__main__')"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}

    def take_interrupts() -> None:  # CI may run us as a background job, with SIGINT ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    return subprocess.Popen(command, env=environment, text=True, preexec_fn=take_interrupts, **pipes)


def run(script: str, *arguments: str, data: Path, hidden: tuple[str, ...] = ()) -> tuple[int, str]:
    process = start(script, *arguments, data=data, hidden=hidden)
    out, error = process.communicate(timeout=500)
    return process.returncode, out + error
