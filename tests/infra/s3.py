"""An S3 server in a thread, as much of the protocol as artifacts need.

Objects are put, got, asked for, listed and deleted by path-style requests, signed by its one account.

The client under test is the real one (s3fs on aiobotocore); only the other end of the wire is ours.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

KEY, SECRET, REGION = "AKIDEXAMPLE", "s3cr/et+key", "eu-central-1"


class S3Server:
    """``objects``: by bucket and key; ``fault`` makes every answer that error."""

    def __init__(self, *buckets: str) -> None:
        self.objects: dict[str, dict[str, bytes]] = {bucket: {} for bucket in buckets}
        self.fault: tuple[int, str] | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"s3": self}))
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        account = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": REGION}
        return {**account, "AWS_ENDPOINT_URL": self.url}

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Fault(Exception):
    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    s3: ClassVar[S3Server]

    def log_message(self, *_: Any) -> None: ...

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            if self.s3.fault is not None:
                raise _Fault(*self.s3.fault)
            self._check_signature(body)
            self._answer(*self._act(body))
        except _Fault as fault:
            xml = f"<Error><Code>{fault.code}</Code><Message>{fault.code} it is</Message></Error>"
            self._answer(fault.status, xml.encode(), {"Content-Type": "application/xml"})

    do_GET = do_PUT = do_HEAD = do_DELETE = _handle

    def _check_signature(self, body: bytes) -> None:
        """Signature version 4, as AWS's documentation builds it."""
        given = self.headers.get("Authorization", "")
        parts = dict(part.strip().split("=", 1) for part in given.partition(" ")[2].split(",") if "=" in part)
        account, _, scope = parts.get("Credential", "").partition("/")
        if account != KEY:
            raise _Fault(403, "InvalidAccessKeyId" if account else "AccessDenied")
        path, _, query = self.path.partition("?")
        names = parts["SignedHeaders"].split(";")
        headers = "".join(f"{name}:{' '.join(self.headers[name].split())}\n" for name in names)
        content = self.headers["x-amz-content-sha256"]
        canonical = "\n".join(
            [self.command, path, "&".join(sorted(query.split("&"))), headers, parts["SignedHeaders"], content]
        )
        key = f"AWS4{SECRET}".encode()
        for word in scope.split("/"):  # date, region, s3, aws4_request
            key = hmac.digest(key, word.encode(), "sha256")
        hashed = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{self.headers['x-amz-date']}\n{scope}\n{hashed}"
        if hmac.digest(key, text.encode(), "sha256").hex() != parts["Signature"]:
            raise _Fault(403, "SignatureDoesNotMatch")
        if scope.split("/")[1] != REGION:
            raise _Fault(400, "AuthorizationHeaderMalformed")
        if content not in (hashlib.sha256(body).hexdigest(), "UNSIGNED-PAYLOAD"):
            raise _Fault(400, "XAmzContentSHA256Mismatch")

    def _act(self, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        url = urlsplit(self.path)
        bucket, _, key = unquote(url.path).lstrip("/").partition("/")
        objects = self.s3.objects.get(bucket)
        if objects is None:
            raise _Fault(404, "NoSuchBucket")
        if self.command == "PUT":
            objects[key] = body
            return 200, b"", {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}
        if self.command == "DELETE":
            objects.pop(key, None)
            return 204, b"", {}
        if not key:
            return 200, _listing(bucket, objects, parse_qs(url.query).get("prefix", [""])[0]), {}
        if key not in objects:
            raise _Fault(404, "NoSuchKey")
        kept = objects[key]
        return 200, kept, {"ETag": '"x"', "Last-Modified": "Tue, 24 Nov 2026 00:00:00 GMT"}

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _listing(bucket: str, objects: dict[str, bytes], prefix: str) -> bytes:
    found = [(key, content) for key, content in sorted(objects.items()) if key.startswith(prefix)]
    rows = "".join(
        f"<Contents><Key>{escape(key)}</Key><Size>{len(content)}</Size>"
        "<LastModified>2026-11-24T00:00:00.000Z</LastModified></Contents>"
        for key, content in found
    )
    head = f"<Name>{bucket}</Name><KeyCount>{len(found)}</KeyCount><IsTruncated>false</IsTruncated>"
    return f"<ListBucketResult>{head}{rows}</ListBucketResult>".encode()
