"""Bodies: one request's body to raw inputs, strictly and within limits.

What a record may hold is the task's business (``Task.parse``); here only the envelope is read.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from fnmatch import fnmatchcase
from typing import Any

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from ehrbench.core.task import Form, RawInput
from ehrbench.serve.limits import ServeSettings
from ehrbench.serve.problems import BODY, Problem
from ehrbench.tasks.names import fault_of_name
from ehrbench.tasks.numbers import of_text, shown

_PATIENCE = 8
_PACKINGS = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"\xfd7zXZ": "xz"}
_HALF_A_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")  # of surrogates; the other half may be missing


async def read_inputs(request: Request, settings: ServeSettings, forms: Sequence[Form]) -> list[RawInput]:
    """The raw inputs of a posted body, which may come in any form the task reads, beside JSON.

    Raises Problem 400 (not JSON, no body, broken form), 408 (too slow), 413 (too large, too many), 415
    (another content type), 422 (JSON of another shape).
    """
    kind = _header(request, "content-type").partition(";")[0].strip()
    own = [one for form in forms for one in form.media_types]
    read = ["application/json", *own, "multipart/form-data", "application/octet-stream"]
    if not any(fnmatchcase(kind, one) for one in read):
        remedy = f"post {', '.join(dict.fromkeys(read))}".replace("text/*", "text/plain")
        raise Problem(415, f"content type {kind or 'missing'} is not read here", remedy=remedy)
    refuse_packed(request)
    body = await read_body(request, settings.max_body_bytes, settings.body_timeout_s)
    if not body.strip():
        raise Problem(400, "the body is empty", remedy="post one record, see /docs for an example")
    if kind == "application/json":
        inputs = _json_inputs(body)
    elif kind == "multipart/form-data":
        inputs = await _form_inputs(request, body)
    else:
        inputs = [RawInput(BODY, body)]
    if len(inputs) > settings.max_records:
        raise Problem(
            413, f"{len(inputs)} records in one request", remedy=f"post at most {settings.max_records}"
        )
    return inputs


def refuse_packed(request: Request) -> None:
    """Problem 415 for a body that is packed by its header."""
    if (encoding := _header(request, "content-encoding")) not in ("", "identity"):
        raise _packed(shown(encoding))


def _header(request: Request, name: str) -> str:
    return request.headers.get(name, "").strip().lower()


def packed(inputs: Sequence[RawInput]) -> Problem | None:
    """What to say where a task cannot read inputs of which one is packed; None where none is."""
    for raw in inputs:
        for begins, packing in _PACKINGS.items():
            if isinstance(raw.body, bytes) and raw.body.startswith(begins):
                return _packed(packing, raw.name)
    return None


def _packed(packing: str, file: str = BODY) -> Problem:
    where = None if file == BODY else file
    return Problem(415, f"packed as {packing}, which is not read here", file=where, remedy="post it unpacked")


async def read_body(request: Request, most: int, patience_s: float) -> bytes:
    """The whole body; Problem 413 where it is larger than ``most`` bytes, 408 where it takes too long."""
    try:
        async with asyncio.timeout(patience_s):
            return await _read_body(request, most)
    except TimeoutError as error:
        problem = f"the body was not here within {patience_s:g} s"
        raise Problem(408, problem, remedy="post it again") from error


async def _read_body(request: Request, most: int) -> bytes:
    """The whole body; Problem 413 where it is larger than ``most`` bytes.

    A client that is cut off while it sends sees a broken connection, not the answer: so what is too much is
    read to its end and thrown away, up to ``_PATIENCE`` times ``most``.
    """
    problem = f"the body is larger than {most} bytes"
    too_large = Problem(413, problem, remedy="post fewer records at once, or a smaller one")
    declared = of_text(request.headers.get("content-length", ""))
    if declared is not None and declared > _PATIENCE * most:
        raise too_large
    body, n_bytes = bytearray(), 0
    async for chunk in request.stream():
        n_bytes += len(chunk)
        if n_bytes <= most:
            body += chunk
        elif n_bytes > _PATIENCE * most:
            break
    if n_bytes > most:
        raise too_large
    return bytes(body)


def _json_inputs(body: bytes) -> list[RawInput]:
    if problem := packed([RawInput(BODY, body)]):
        raise problem
    content = json_object(body)
    if content.keys() != {"records"}:
        return [RawInput(BODY, content)]
    records = content["records"]
    if not isinstance(records, list) or not records:
        raise Problem(422, "not a list of one or more records", field="records")
    for k, record in enumerate(records):
        if not isinstance(record, dict):
            raise Problem(422, f"a {type(record).__name__}, not an object", field=f"records[{k}]")
    return [RawInput(f"records[{k}]", record) for k, record in enumerate(records)]


def json_object(body: bytes) -> dict[str, Any]:
    """A JSON object, strictly: Problem 400 for what is not JSON, 422 for JSON that is none."""
    try:
        content = json.loads(
            body.decode("utf-8-sig"),
            object_pairs_hook=_unique_keys,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
        if _HALF_A_PAIR.search(body):  # text that no answer could quote
            json.dumps(content, ensure_ascii=False).encode()
    except RecursionError as error:
        raise Problem(400, "not JSON a record could be: nested too deeply") from error
    except (
        ValueError
    ) as error:  # of the decoder, of the hooks, of integers too long, of bytes that are no text
        raise Problem(400, f"not JSON: {error}", remedy="see /docs for an example") from error
    if not isinstance(content, dict):
        raise Problem(
            422, f"a JSON {type(content).__name__}, not an object", remedy="see /docs for an example"
        )
    return content


async def _form_inputs(request: Request, body: bytes) -> list[RawInput]:
    boundary = parse_options_header(request.headers["content-type"])[1].get(b"boundary", b"")
    if not boundary:
        raise Problem(400, "the multipart form names no boundary", remedy="post each record as a file")
    parts = body[max(body.find(b"--" + boundary), 0) :]  # the parser takes no preamble
    if not re.search(rb"(?:^|\r\n)--%b--[ \t]*(?:\r\n|$)" % re.escape(boundary), parts):
        # the parser would drop a cut last file without a word
        raise Problem(400, "the multipart form is cut short", remedy="post it again")

    async def stream() -> AsyncGenerator[bytes, None]:
        yield parts

    try:
        form = await MultiPartParser(request.headers, stream()).parse()
    except (MultiPartException, KeyError, ValueError) as error:
        raise Problem(
            400, "the multipart form cannot be read", remedy="post each record as a file"
        ) from error
    inputs = []
    for name, part in form.multi_items():
        if not isinstance(part, UploadFile):
            raise Problem(422, "a form field, not a file", field=name, remedy="post each record as a file")
        filename = part.filename or BODY
        if problem := fault_of_name(filename):
            raise Problem(422, problem, field="filename", remedy="name the file otherwise")
        inputs.append(RawInput(filename, await part.read()))
        await part.close()
    if not inputs:
        raise Problem(422, "the form holds no file", remedy="post each record as a file")
    return inputs


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise ValueError(f"key {shown(next(key for key, n in counts.items() if n > 1))} stands there twice")
    return content


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    if (number := of_text(text)) is None:
        raise ValueError(f"{text[:40]} is too large a number")
    return number
