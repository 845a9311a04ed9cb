"""Run: serve a bundle until told to stop (``ehrbench serve``)."""

from __future__ import annotations

import errno
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from ehrbench.core.errors import BundleError, ConfigError, EhrbenchError
from ehrbench.serve.app import create_app
from ehrbench.serve.clinical.code_map import CodeMap
from ehrbench.serve.keys import ApiKeys
from ehrbench.serve.limits import ServeSettings
from ehrbench.serve.requests import JsonFormatter

if TYPE_CHECKING:
    from ehrbench.serve.store import PredictionStore

#: How long requests may take to end after SIGTERM or Ctrl-C.
GRACE_S = 20


def serve(
    bundle: str | Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    threads: int = 1,
    settings: ServeSettings | None = None,
    *,
    store: PredictionStore | None = None,
    keys: ApiKeys | None = None,
    maps: Mapping[str, CodeMap] | None = None,
    drain_s: float = 0,
) -> None:
    """Serve ``bundle`` at ``host:port`` (0: any free port) until SIGTERM or Ctrl-C; returns when drained.

    bundle: one, or what names several by alias (``deployments``). drain_s: seconds for which a server that
    is told to stop says so (``/readyz``) and still answers, so that whoever sends requests turns elsewhere.

    Logs JSON lines to stderr. Raises ConfigError for an address that cannot be had and BundleError for a
    bundle that cannot be used; nothing is left running then.
    """
    settings = settings or ServeSettings(threads=threads)
    if not Path(bundle).exists():
        raise BundleError(
            f"{bundle}: no such folder — name the folder of a bundle, such as runs/STUDY/bundle"
        )
    failures: list[EhrbenchError] = []
    with _listen(host, port) as listening, _json_logs(), _quiet_signals():
        app = create_app(bundle, settings, store=store, keys=keys, maps=maps)
        server = _DrainingServer(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=GRACE_S,
            )
        )

        def stop(error: EhrbenchError) -> None:
            failures.append(error)
            server.should_exit = True

        server.drain, server.drain_s = app.state.service.drain, drain_s
        app.state.service.on_failure = stop
        address = _url(listening)
        logging.getLogger("ehrbench.serve").info("listening", extra={"fields": {"url": address}})
        server.run(sockets=[listening])
    if failures:
        raise failures[0]


class _DrainingServer(uvicorn.Server):
    """Uvicorn's, which at the first signal goes on for ``drain_s`` seconds; at the second it stops."""

    drain: Callable[[], None]
    drain_s: float = 0
    _told = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._told or not self.drain_s:
            super().handle_exit(sig, frame)
            return
        self._told = True
        self.drain()
        stopping = threading.Timer(self.drain_s, super().handle_exit, (sig, frame))
        stopping.daemon = True
        stopping.start()


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket; bound before the bundle is loaded, so that a used port is told at once."""
    if not host.strip():  # an unset variable; the socket would listen on all addresses
        raise ConfigError("host", "is empty", "give an address of this machine, or 0.0.0.0 for all of them")
    if not 0 <= port <= 65535:
        raise ConfigError("port", f"{port} is not between 0 and 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        if error.errno in (socket.EAI_NONAME, errno.EADDRNOTAVAIL):
            problem = f"{host} is no address of this machine"
            raise ConfigError("host", problem, "choose another host") from error
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(
            "port", f"cannot listen on {host}:{port} ({reason})", "choose another port"
        ) from error
    # Header and body leave in two writes; without this the second waits 40 ms for the receipt of the first.
    # Accepted connections inherit it. (asyncio sets it, but not on what create_server makes: its proto is 0.)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def _json_logs() -> Iterator[None]:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    changed = [logging.getLogger(name) for name in ("ehrbench", "uvicorn")]
    before = [(logger.level, logger.propagate) for logger in changed]
    for logger, level in zip(changed, (logging.INFO, logging.WARNING), strict=True):
        logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, (level, propagate) in zip(changed, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate


@contextmanager
def _quiet_signals() -> Iterator[None]:
    """Uvicorn raises the signal that stopped it once more when it is done; a drained server ends well."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    try:
        before = [signal.signal(number, lambda *_: None) for number in numbers]
    except ValueError:  # not in the main thread: uvicorn installs no handlers there either
        yield
        return
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
