"""Streaming: batches of any length, read, predicted and answered part by part (``POST /predict/batch``).

NDJSON: a record a line; CSV: a header and a record a row, of tasks whose rows are records. The answer has the
form of the question and keeps its order; what cannot be read is an error in its place. One deployment answers
the whole of it.

A client may send all before it reads: answers that nobody has taken yet wait in a temporary file, and only a
megabyte of them in memory. So neither side ever waits for the other to take what it will not.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator, Sequence
from tempfile import SpooledTemporaryFile
from typing import Any

import anyio.to_thread
from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from ehrbench.core.errors import DataError
from ehrbench.core.task import RawInput, Task
from ehrbench.runtime import Bundle
from ehrbench.serve.answers import UnitAnswer, unit_answers
from ehrbench.serve.asked import Alias, TheService, problems
from ehrbench.serve.bodies import json_object, refuse_packed
from ehrbench.serve.deployments import Deployment
from ehrbench.serve.lines import RowSplitter
from ehrbench.serve.problems import BODY, Problem, problem_detail
from ehrbench.serve.service import Service

NDJSON, CSV = "application/x-ndjson", "text/csv"
#: Records predicted at once: few enough that whoever posts one record hardly waits for them.
PART = 100
#: How long a part waits for more rows.
GATHERED_S = 0.02
#: Bytes of answers in memory, and in all, that a client has not taken.
IN_MEMORY, UNTAKEN = 1024 * 1024, 512 * 1024 * 1024

Row = tuple[int, RawInput | Problem]


def add_streaming(app: FastAPI) -> None:
    """The endpoint."""

    @app.post(
        "/predict/batch",
        response_class=Response,
        responses={
            200: {"content": {kind: {"schema": {"type": "string"}} for kind in (NDJSON, CSV)}},
            **problems(400, 404, 408, 415, 422, 503),
        },
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {kind: {"schema": {"type": "string"}} for kind in (NDJSON, CSV)},
            }
        },
    )
    async def predict_batch(request: Request, service: TheService, model: Alias = None) -> Response:
        """Any number of records, streamed both ways: NDJSON (a record a line) or CSV (a record a row).

        The answer has the same form and order, a line a record or a row a unit; what cannot be read has
        `error` in its place and does not end the batch. Memory does not grow with it.
        """
        deployment = service.chosen(model, request.state.request_id)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in (NDJSON, CSV) or (kind == CSV and not rows_are_records(deployment.bundle.task)):
            remedy = f"post {NDJSON}" + (f", or {CSV}" if kind != CSV else ": no row of CSV is a record here")
            raise Problem(415, f"content type {kind or 'missing'} is not read here", remedy=remedy)
        refuse_packed(request)
        if service.streams >= service.settings.max_streams:
            raise Problem(503, "too many batches are answered", remedy="try again", retry_after_s=5)
        chunks = _Chunks(request, service.settings.body_timeout_s)
        if not await chunks.first():  # also: says 100-continue before the answer begins
            raise Problem(400, "the body is empty", remedy="post a record a line, see /docs")
        return BatchAnswer(service, deployment, chunks, kind, request)


class BatchAnswer(Response):
    """Reads, predicts and answers at once."""

    def __init__(
        self, service: Service, deployment: Deployment, chunks: _Chunks, kind: str, request: Request
    ) -> None:
        super().__init__(media_type=kind)
        del self.headers["content-length"]
        self.headers["X-Cohort"] = deployment.bundle.manifest.cohort
        self.headers["X-Model-Version"] = deployment.bundle.digest
        self._service, self._deployment, self._chunks, self._request = service, deployment, chunks, request
        self._kind, self._name = kind, request.state.request_id
        self._classes = deployment.bundle.manifest.target.classes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        self._service.streams += 1
        with SpooledTemporaryFile(max_size=IN_MEMORY) as file:
            untaken = _Untaken(file)
            making = asyncio.create_task(self._make(untaken))
            try:
                await send(start)
                while part := await untaken.take():
                    await send({"type": "http.response.body", "body": part, "more_body": True})
                await making
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            finally:
                making.cancel()
                self._chunks.close()
                self._service.streams -= 1
                await asyncio.wait({making})  # it uses the file

    async def _make(self, untaken: _Untaken) -> None:
        try:
            if self._kind == CSV:
                untaken.put(_csv_line(["line", "id", "record", "unit", *self._columns(), "flags", "error"]))
            async for rows in self._parts():
                untaken.put(await self._answered(rows))
                if untaken.size > UNTAKEN:
                    problem = Problem(413, "nobody reads the answers", remedy="read while you send")
                    untaken.put(self._error(rows[-1][0] + 1, problem))
                    return
        finally:
            untaken.end()

    async def _parts(self) -> AsyncIterator[list[Row]]:
        """Rows as they come, at most ``PART`` of them at once."""
        splitter = RowSplitter(self._service.settings.max_body_bytes, quoted=self._kind == CSV)
        waiting, header, line = list[Row](), b"", 0
        while True:
            try:
                chunk = await self._chunks.next(GATHERED_S if waiting else None)
            except Problem as problem:  # the client was too slow
                yield [*waiting, (line + 1, problem)]
                return
            for line, row in splitter.feed(chunk) if chunk else splitter.end() if chunk == b"" else ():
                if self._kind == CSV and not header:
                    header = row or b"?"
                    continue
                waiting.append((line, self._read(line, row, header)))
            while len(waiting) >= PART or (waiting and not chunk):
                yield waiting[:PART]
                waiting = waiting[PART:]
            if chunk == b"":
                return

    def _read(self, line: int, row: bytes | None, header: bytes) -> RawInput | Problem:
        name = f"line {line}"
        if row is None:
            most = self._service.settings.max_body_bytes
            return Problem(413, f"longer than {most} bytes", file=name, remedy="post it by itself, cut")
        if self._kind == CSV:
            return RawInput(name, header + b"\n" + row + b"\n")
        try:
            return RawInput(name, json_object(row))
        except Problem as problem:
            problem.file = name
            return problem

    async def _answered(self, rows: Sequence[Row]) -> bytes:
        """The answers of some rows, in order."""
        found = dict(rows)
        inputs = {line: one for line, one in rows if isinstance(one, RawInput)}
        answers: dict[int, list[UnitAnswer]] = {}
        while inputs:
            try:
                served = await self._service.predict_part(self._deployment, list(inputs.values()), self._name)
            except Problem as problem:
                faults = await anyio.to_thread.run_sync(_faults, self._deployment.bundle, inputs)
                if not faults and len(inputs) > 1:  # too much at once
                    half = len(rows) // 2
                    return await self._answered(rows[:half]) + await self._answered(rows[half:])
                found |= faults or dict.fromkeys(inputs, problem)
                inputs = {line: one for line, one in inputs.items() if isinstance(found[line], RawInput)}
                continue
            state = self._request.state
            state.n_records = getattr(state, "n_records", 0) + len(served.records)
            state.n_units = getattr(state, "n_units", 0) + served.records.total_units
            owner, lines = served.records.unit_record, list(inputs)
            for n, unit in zip(owner, unit_answers(served), strict=True):
                answers.setdefault(lines[served.sources[n]], []).append(unit)
            break
        parts = []
        for line, one in found.items():
            parts.append(self._error(line, one) if isinstance(one, Problem) else self._units(line, answers))
        return b"".join(parts)

    def _columns(self) -> list[str]:
        return [*self._classes, *(f"{name}_called" for name in self._classes)]

    def _units(self, line: int, answers: dict[int, list[UnitAnswer]]) -> bytes:
        units = answers.get(line, [])
        if self._kind == NDJSON:
            return _json_line({"line": line, "predictions": [u.model_dump(exclude_none=True) for u in units]})
        rows = [
            [
                *(line, unit.id, unit.record, unit.unit),
                *unit.probability.values(),
                *(int(called) for called in unit.decision.values()),
                *(" ".join(unit.flags), ""),
            ]
            for unit in units
        ]
        return b"".join(map(_csv_line, rows))

    def _error(self, line: int, problem: Problem) -> bytes:
        detail = problem_detail(problem)
        if self._kind == NDJSON:
            return _json_line({"line": line, "error": detail.model_dump(exclude_none=True)})
        place = ", ".join(str(one) for one in (detail.record, detail.field) if one is not None)
        said = f"{place}: {detail.problem}" if place else detail.problem
        return _csv_line([line, *[""] * (4 + 2 * len(self._classes)), said])


class _Chunks:
    """The parts of a body as they come, each within ``patience_s``."""

    def __init__(self, request: Request, patience_s: float) -> None:
        self._stream, self._patience_s = request.stream(), patience_s
        self._coming: asyncio.Future[bytes] | None = None
        self._first: bytes | None = None

    async def first(self) -> bytes:
        """The first part, which ``next`` will give again; empty: there is none."""
        self._first = await self.next(None)
        return self._first or b""

    async def next(self, wait_s: float | None) -> bytes | None:
        """The next part; empty at the end; None where none is here within ``wait_s``. Problem 408."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        if self._coming is None:
            self._coming = asyncio.ensure_future(anext(self._stream, b""))
        patience_s = self._patience_s if wait_s is None else wait_s
        done, _ = await asyncio.wait({self._coming}, timeout=patience_s)
        if not done:
            if wait_s is not None:
                return None
            self._coming.cancel()
            raise Problem(408, f"nothing came within {patience_s:g} s", remedy="post the rest again")
        coming, self._coming = self._coming, None
        return coming.result()

    def close(self) -> None:
        """Wait for nothing more."""
        if self._coming is not None:
            self._coming.cancel()


class _Untaken:
    """Answers that the client has not taken yet, in a file that begins anew whenever it has taken all."""

    def __init__(self, file: Any) -> None:
        self._file, self._read, self._written, self._ended = file, 0, 0, False
        self._changed = asyncio.Event()

    @property
    def size(self) -> int:
        return self._written - self._read

    def put(self, data: bytes) -> None:
        self._file.seek(self._written)
        self._file.write(data)
        self._written += len(data)
        self._changed.set()

    def end(self) -> None:
        self._ended = True
        self._changed.set()

    async def take(self) -> bytes:
        """What is next, when there is some; empty at the end."""
        while not self.size and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        self._file.seek(self._read)
        data: bytes = self._file.read(64 * 1024)
        self._read += len(data)
        if not self.size:
            self._file.seek(0)
            self._file.truncate()
            self._read = self._written = 0
        return data


def _faults(bundle: Bundle, inputs: dict[int, RawInput]) -> dict[int, Problem]:
    """Line to problem of the inputs that cannot be read."""
    faults = {}
    for line, raw in inputs.items():
        try:
            n = len(bundle.task.parse([raw], strict=True).records)
        except DataError as error:
            faults[line] = Problem.of(error)
        else:
            if n != 1:
                faults[line] = Problem(422, f"{n} records in one row", file=raw.name)
    return faults


def rows_are_records(task: Task) -> bool:
    """Whether one more row of a CSV is one more record, asked of the task's example."""
    example = task.example()
    if not any(form.many and "text/*" in form.media_types for form in task.forms):
        return False
    body = example.body if isinstance(example.body, bytes) else b""
    *_, last = body.rstrip(b"\n").split(b"\n")
    try:
        counts = [len(task.parse([RawInput(BODY, one)], strict=True).records) for one in (body, body + last)]
    except DataError:
        return False
    return counts[1] == counts[0] + 1


def _json_line(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _csv_line(cells: Sequence[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()
