"""TrialServer: a bundle served on this machine for as long as it is tried, by a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ehrbench.core.errors import BundleError

_PATIENCE_S = 120.0


@contextmanager
def serving(bundle: Path) -> Iterator[str]:
    """The URL of a server of the bundle, once it is ready. Raises BundleError saying why it is not."""
    words = [
        sys.executable,
        "-m",
        "ehrbench.app.command.cli",
        "serve",
        "--bundle",
        str(bundle),
        "--port",
        "0",
    ]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, encoding="utf-8") as server:
        patience = threading.Timer(_PATIENCE_S, server.kill)
        try:
            patience.start()
            url = _ready(server, bundle)
            patience.cancel()
            assert server.stderr is not None
            threading.Thread(target=server.stderr.read, daemon=True).start()  # a full pipe would stop it
            yield url
        finally:
            patience.cancel()
            server.terminate()


def _ready(server: subprocess.Popen[str], bundle: Path) -> str:
    assert server.stderr is not None
    url, last = "", ""
    for last in server.stderr:
        try:
            event = json.loads(last)
        except ValueError:  # the one line that a command ends with
            continue
        url = event.get("url", url)
        if event.get("event") == "ready":
            return str(url)
    raise BundleError(f"{bundle}: cannot be served ({last.strip()[:200]}) — ehrbench bundle verify {bundle}")
