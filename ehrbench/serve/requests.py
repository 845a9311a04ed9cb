"""Requests: each gets an id, one log line without patient data, and an answer whatever happens inside."""

from __future__ import annotations

import json
import logging
import math
import re
import time
import traceback
from datetime import UTC, datetime

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ehrbench.serve.probes import UNLIMITED
from ehrbench.serve.problems import Problem, problem_response
from ehrbench.serve.rates import RateLimit
from ehrbench.serve.service import Service

log = logging.getLogger("ehrbench.serve")
HEADER = "X-Request-ID"
CLIENT_LEFT = 499  # nginx's word for it: nobody is there to be answered
_HEADER = HEADER.lower().encode()
_SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

#: Pages load nothing from elsewhere and are not framed: a patient's file stays between browser and server.
_SECURITY = [
    (name.lower().encode(), value.encode())
    for name, value in {
        "Cache-Control": "no-store",
        "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
        " img-src 'self' data:; connect-src 'self'; form-action 'none'; frame-ancestors 'none';"
        " base-uri 'none'",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }.items()
]


class RequestMiddleware:
    """Outermost of the app's own middleware; counts every request, and refuses those of too fast a client.

    A log line holds method, path, status, duration and counts: no body, no query, no record id, no message of
    an exception (it may quote a value).
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app, self.instruments, self.tokens = app, service.instruments, service.tokens
        rate = service.settings.rate
        self.limit = RateLimit(rate) if rate else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0
        given = dict(scope["headers"]).get(_HEADER, b"").decode("latin-1")
        request_id = given if _SAFE_ID.fullmatch(given) else self.tokens.fresh(16)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = (_HEADER, request_id.encode("latin-1"))
                message = {**message, "headers": [*message["headers"], own, *_SECURITY]}
            await send(message)

        failure: dict[str, object] = {}
        try:
            if (refused := self._refused(scope)) is not None:
                await problem_response(request_id, refused)(scope, receive, answer)
            else:
                await self.app(scope, receive, answer)
        except ClientDisconnect:
            status = CLIENT_LEFT
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)[-4:]
            failure = {
                "error": type(error).__name__,
                "at": [f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in frames],
            }
            if not status:
                problem = Problem(500, "the server failed on this request", remedy="report the request id")
                await problem_response(request_id, problem)(scope, receive, answer)
        taken_s, path = time.perf_counter() - started, _path(scope, status)
        self.instruments.answered(path, status, taken_s)
        fields = {
            "request_id": request_id,
            "method": scope["method"],
            "path": path,
            "status": status,
            "duration_ms": round(1000 * taken_s, 1),
            **{name: state[name] for name in ("n_records", "n_units") if name in state},
            **failure,
        }
        log.log(logging.ERROR if failure else logging.INFO, "request", extra={"fields": fields})

    def _refused(self, scope: Scope) -> Problem | None:
        """What to tell a client that asks too often."""
        if self.limit is None or scope["path"] in UNLIMITED:
            return None
        wait_s = self.limit.wait_s((scope.get("client") or ("",))[0], time.monotonic())
        if not wait_s:
            return None
        return Problem(429, "too many requests", remedy="send fewer", retry_after_s=math.ceil(wait_s))


def _path(scope: Scope, status: int) -> str:
    """The route's own path, since one asked for may hold a record's id; all pages' parts are one."""
    if path := getattr(scope.get("route"), "path", None):
        return str(path)
    if status >= 400:
        return "(unknown)"
    return "/pages" if scope["path"].startswith("/pages/") else str(scope["path"])


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, event, and the record's fields."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)
