from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from ehrbench.serve import ServeSettings, create_app
from ehrbench.serve.serving import _listen
from tests.infra.conftest import mariadb
from tests.runtime.conftest import toy_bundle

__all__ = ["mariadb"]

RECORD = {"id": "p7", "rows": [[0.5, None, -1.0]]}
JSON = {"Content-Type": "application/json"}
Running = Callable[..., AbstractContextManager[httpx.Client]]


@contextmanager
def running(
    bundle: Path, settings: ServeSettings | None = None, wait: bool = True, **kept: Any
) -> Iterator[httpx.Client]:
    """A real uvicorn on a free port, in a thread, and a client of it; ends drained. kept: store and keys."""
    listening = _listen("127.0.0.1", 0)
    app = create_app(bundle, settings, **kept)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    base = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        with httpx.Client(base_url=base, timeout=120) as client:
            client.app = app  # type: ignore[attr-defined]
            if wait:
                wait_until_ready(client)
            yield client
    finally:
        server.should_exit = True
        thread.join(timeout=120)
        assert not thread.is_alive()


def wait_until_ready(client: httpx.Client) -> None:
    deadline = time.monotonic() + 120
    while (answer := client.get("/healthz")).status_code != 200:
        assert answer.json()["status"] == "loading", answer.text
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="session")
def any_bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A toy bundle of each target kind; the binary one is marked as simulated."""
    root = tmp_path_factory.mktemp("served")
    return {
        "binary": toy_bundle(root / "binary", "binary", "simulated"),
        "multilabel": toy_bundle(root / "multilabel", "multilabel"),
        "multiclass": toy_bundle(root / "multiclass", "multiclass"),
    }


@pytest.fixture(scope="session")
def client(any_bundles: dict[str, Path]) -> Iterator[httpx.Client]:
    """A client of a server of the binary bundle, with small limits."""
    settings = ServeSettings(max_body_bytes=20_000, max_records=5, max_units=300, concurrency=2)
    with running(any_bundles["binary"], settings) as client:
        yield client


@pytest.fixture
def bundle_dir(any_bundles: dict[str, Path], tmp_path: Path) -> Path:
    """A binary bundle of its own, to be damaged at will."""
    return Path(shutil.copytree(any_bundles["binary"], tmp_path / "bundle"))
