"""Downloading against a real HTTP server that knows ranges and breaks off, and from file://."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ehrbench.core.errors import DataError
from ehrbench.core.progress import SILENT
from ehrbench.publishers import downloading
from ehrbench.publishers.downloading import Remote, download_files
from ehrbench.publishers.physionet2012 import PhysioNet2012, challenge_files
from ehrbench.tasks.mortality import Mortality
from tests.tasks.texts import record_text, write_set

BODY = bytes(range(256)) * 4096  # 1 MiB
GOOD = Remote("body.bin", hashlib.sha256(BODY).hexdigest())


class Server(ThreadingHTTPServer):
    """Serves ``files``; ``break_after`` bytes the first answers stop short; the others as told."""

    files: dict[str, bytes]
    break_after: int | None = None
    breaks: int = 1
    ranges: bool = True
    length: str | None = None  # instead of the number of bytes

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.asked = {}, []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append((self.path, asked))
        body = self.server.files.get(self.path.lstrip("/"))
        if body is None:
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.server.ranges else 0
        if start >= len(body) > 0:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", self.server.length or str(len(body) - start))
        self.end_headers()
        rest = body[start:]
        if self.server.break_after is not None and self.server.breaks > 0:
            self.server.breaks -= 1
            rest = rest[: self.server.break_after]
        self.wfile.write(rest)
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server():
    server = Server()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(downloading.time, "sleep", lambda seconds: None)


def get(server_or_url, folder, *files, subfolder="sub"):
    url = server_or_url if isinstance(server_or_url, str) else server_or_url.url
    download_files(files, folder, url, subfolder=subfolder, progress=SILENT)


def test_a_file_arrives_whole(server, tmp_path):
    server.files["body.bin"] = BODY
    get(server, tmp_path, GOOD)
    assert (tmp_path / "body.bin").read_bytes() == BODY
    assert [p.name for p in tmp_path.iterdir()] == ["body.bin"]
    get(server, tmp_path, GOOD)
    assert len(server.asked) == 1, "a right file is not fetched again"


def test_a_folder_under_the_base_is_found(server, tmp_path):
    server.files |= {"sub/body.bin": BODY, "sub/other.txt": b"x"}
    get(server, tmp_path, GOOD, Remote("other.txt", None))
    assert [path for path, _ in server.asked] == ["/body.bin", "/sub/body.bin", "/sub/other.txt"]


def test_an_interrupted_transfer_goes_on_where_it_stopped(server, tmp_path):
    server.files["body.bin"], server.break_after, server.breaks = BODY, 300_000, 2
    get(server, tmp_path, GOOD)
    assert (tmp_path / "body.bin").read_bytes() == BODY
    assert [asked for _, asked in server.asked] == [None, "bytes=300000-", "bytes=600000-"]


def test_the_next_run_goes_on_from_the_part(server, tmp_path):
    server.files["body.bin"], server.break_after, server.breaks = BODY, 1000, 99
    with pytest.raises(DataError, match="goes on where it stopped"):
        get(server, tmp_path, GOOD)
    have = (tmp_path / "body.bin.part").stat().st_size
    assert 0 < have < len(BODY)
    assert not (tmp_path / "body.bin").exists()
    server.break_after = None
    get(server, tmp_path, GOOD)
    assert server.asked[-1] == ("/body.bin", f"bytes={have}-")
    assert (tmp_path / "body.bin").read_bytes() == BODY


def test_a_server_without_ranges_begins_again(server, tmp_path):
    server.files["body.bin"], server.ranges, server.break_after = BODY, False, 5000
    get(server, tmp_path, GOOD)
    assert (tmp_path / "body.bin").read_bytes() == BODY


@pytest.mark.parametrize("length", ["soon", "-1"])
def test_a_length_that_is_no_number_of_bytes_is_not_believed(server, tmp_path, length):
    server.files["body.bin"], server.length = BODY, length
    get(server, tmp_path, GOOD)
    assert (tmp_path / "body.bin").read_bytes() == BODY


def test_a_part_that_is_already_whole_or_too_long_is_begun_again(server, tmp_path):
    server.files["body.bin"] = BODY
    (tmp_path / "body.bin.part").write_bytes(BODY + b"more")
    get(server, tmp_path, GOOD)
    assert (tmp_path / "body.bin").read_bytes() == BODY


def test_other_content_is_refused_and_leaves_nothing(server, tmp_path):
    server.files["body.bin"] = BODY[:-1] + b"!"
    with pytest.raises(DataError, match="SHA-256 differs"):
        get(server, tmp_path, GOOD)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_archive_is_refused_though_nothing_is_pinned(server, tmp_path):
    server.files |= {"x.tar.gz": b"\x1f\x8b\x08\x00 not gzip", "x.zip": b"PK nothing", "x.txt": b""}
    for name in server.files:
        with pytest.raises(DataError, match=r"damaged or truncated|is empty"):
            get(server, tmp_path, Remote(name, None))


def test_a_missing_file_is_an_error_unless_optional(server, tmp_path):
    get(server, tmp_path, Remote("set-c.tar.gz", None, optional=True))
    with pytest.raises(DataError, match="is not at this source"):
        get(server, tmp_path, GOOD)
    with pytest.raises(DataError, match="cannot be fetched"):
        get("http://127.0.0.1:9/", tmp_path, GOOD)


def test_file_urls(tmp_path):
    (tmp_path / "from" / "sub").mkdir(parents=True)
    (tmp_path / "from" / "sub" / "body.bin").write_bytes(BODY)
    get((tmp_path / "from").as_uri(), tmp_path / "to", GOOD)
    assert (tmp_path / "to" / "body.bin").read_bytes() == BODY
    with pytest.raises(DataError, match="is not at this source"):
        get((tmp_path / "nowhere").as_uri(), tmp_path / "to2", GOOD)
    with pytest.raises(DataError, match="not an http, https or file URL"):
        get("ftp://x/", tmp_path / "to3", GOOD)


def test_mortality_fetches_from_a_mirror_without_set_c(tmp_path, monkeypatch):
    mirror = tmp_path / "mirror"
    for i, name in enumerate("ab"):
        write_set(mirror, name, {10 + i: record_text(10 + i)})
    files = tuple(Remote(file.name, None, file.optional) for file in challenge_files.FILES)
    monkeypatch.setattr(challenge_files, "FILES", files)
    PhysioNet2012(Mortality()).download(tmp_path / "data", mirror.as_uri())
    assert PhysioNet2012(Mortality()).read(tmp_path / "data", ("a", "b")).records.ids.tolist() == ["10", "11"]


def test_the_pinned_files_refuse_another_content(tmp_path):
    write_set(tmp_path / "mirror", "a", {1: record_text(1)})
    with pytest.raises(DataError, match="SHA-256 differs"):
        PhysioNet2012(Mortality()).download(tmp_path / "data", (tmp_path / "mirror").as_uri())


def test_a_simulated_folder_is_not_downloaded_into(simulated: Path):
    with pytest.raises(DataError, match="simulated"):
        PhysioNet2012(Mortality()).download(simulated, "file:///nowhere")
