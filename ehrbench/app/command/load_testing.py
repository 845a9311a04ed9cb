"""Load testing: ``ehrbench load-test URL``: a few clients, each asking again as soon as it is answered.

Standard library only, so that it runs wherever the server does. Times are the clients' own, from the first
byte sent to the last byte read on a connection that stays open. A test without a stated requirement says
nothing, so there always is one: no error, and the slowest hundredth within a limit.
"""

from __future__ import annotations

import argparse
import http.client
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from ehrbench.core.errors import ConfigError, EhrbenchError
from ehrbench.core.places import argument

PATIENCE_S = 60


class RequirementNotMet(EhrbenchError):
    """A server is slower than was asked for, or failed."""

    exit_code = 1


def add_load_test(commands: Any) -> None:
    """The parser of ``ehrbench load-test``."""
    test = commands.add_parser("load-test", help="whether a server answers many as fast as it must")
    test.add_argument("url", metavar="URL", help="of a server, such as http://127.0.0.1:8000")
    test.add_argument("--clients", type=int, default=4, help="asking at once (default 4)")
    test.add_argument("--seconds", type=float, default=10, help="for so long (default 10)")
    test.add_argument("--p99", type=float, default=100, metavar="MS", help="required (default 100 ms)")
    test.add_argument("--body", type=argument, metavar="FILE", help="a record (default: the example)")
    test.add_argument("--content-type", metavar="TYPE", help="of --body (default: by the example's)")
    test.set_defaults(run_command=_load_test)


@dataclass
class Load:
    """What clients met with. Times in milliseconds; errors: what went wrong to how often."""

    milliseconds: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def n_requests(self) -> int:
        return len(self.milliseconds) + self.errors.total()

    def quantile(self, share: float) -> float:
        """Of the answered requests' times; NaN where none was answered."""
        return float(np.quantile(self.milliseconds, share)) if self.milliseconds else float("nan")


def load(url: str, body: bytes, content_type: str, n_clients: int, seconds: float) -> Load:
    """``n_clients`` post ``body`` to ``url``/predict, over and over, for ``seconds``."""
    found, lock = Load(), threading.Lock()
    ready, began = threading.Barrier(n_clients), [0.0]

    def ask() -> None:
        connection = connect(url)
        own = Load()
        headers = {"Content-Type": content_type}
        post(connection, "/predict", body, headers)  # opens the connection
        if ready.wait() == 0:
            began[0] = time.perf_counter()
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            before = time.perf_counter()
            problem, _ = post(connection, "/predict", body, headers)
            if problem:
                own.errors[problem] += 1
            else:
                own.milliseconds.append(1000 * (time.perf_counter() - before))
        connection.close()
        with lock:
            found.milliseconds += own.milliseconds
            found.errors += own.errors

    threads = [threading.Thread(target=ask) for _ in range(n_clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found.seconds = time.perf_counter() - began[0]
    return found


def post(
    connection: http.client.HTTPConnection, path: str, body: bytes, headers: Mapping[str, str]
) -> tuple[str, bytes]:
    """What went wrong, empty where nothing did, and what was answered."""
    try:
        connection.request("POST", path, body, dict(headers))
        answer = connection.getresponse()
        content = answer.read()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        time.sleep(0.01)  # a server that is away is not asked a million times
        return type(error).__name__, b""
    return "" if answer.status in (200, 201) else f"status {answer.status}", content


def connect(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        raise ConfigError("URL", f"{url!r} is no server's address", "give one such as http://127.0.0.1:8000")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname, parts.port, timeout=PATIENCE_S)


def _example(url: str) -> tuple[bytes, str]:
    """The server's own example and its media type."""
    connection = connect(url)
    try:
        connection.request("GET", "/example")
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        problem = f"{url} does not answer ({type(error).__name__})"
        raise ConfigError("URL", problem, "start the server first") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise ConfigError("URL", f"{url}/example answers {answer.status}", "wait until /readyz says ok")
    return body, answer.headers.get_content_type()


def _load_test(options: argparse.Namespace) -> None:
    for name in ("clients", "seconds", "p99"):
        if not getattr(options, name) > 0:
            raise ConfigError(f"--{name}", f"{getattr(options, name)} is none", "give more than 0")
    body, kind = _example(options.url)
    if options.body:
        body = _read(options.body)
    record = body, options.content_type or kind
    check_load(options.url, options.clients, options.seconds, options.p99, record)


def check_load(
    url: str, n_clients: int, seconds: float, p99_ms: float, record: tuple[bytes, str] | None = None
) -> Load:
    """Load a server and say what came of it. record: body and media type; None: the server's example.

    Raises RequirementNotMet.
    """
    found = load(url, *(record or _example(url)), n_clients, seconds)
    p50, p95, p99 = (found.quantile(share) for share in (0.5, 0.95, 0.99))
    print(f"{n_clients} clients, {found.seconds:.1f} s, {found.n_requests:,} requests")
    print(f"answered   {len(found.milliseconds) / found.seconds:8.1f} a second")
    print(f"p50 {p50:.1f} ms   p95 {p95:.1f} ms   p99 {p99:.1f} ms")
    for problem, n in found.errors.most_common():
        print(f"error      {problem}: {n:,}")
    if found.errors:
        problem = f"{found.errors.total():,} of {found.n_requests:,} requests failed"
        raise RequirementNotMet(f"requirement: {problem} — see the server's log")
    if not p99 <= p99_ms:
        problem = f"p99 of {p99:.1f} ms is above {p99_ms:g} ms"
        raise RequirementNotMet(f"requirement: {problem} — give the server more cores, or fewer clients")
    print(f"requirement met: p99 at most {p99_ms:g} ms, no error")
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError("--body", f"{path} cannot be read ({error.strerror})", "name a file") from error
