"""Downloading: resumable, checked, from http(s) or a folder (file://).

A file arrives as ``<name>.part`` and takes its name only when whole and checked, so a file that is there is a
good one. An interrupted transfer goes on where it stopped (HTTP Range); a server that does not know ranges
is asked again from the beginning.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ehrbench.core.bundle import file_digest
from ehrbench.core.errors import DataError
from ehrbench.core.progress import Progress, Step
from ehrbench.tasks.numbers import of_text
from ehrbench.tasks.raw_files import is_hidden, the_one

_CHUNK = 1 << 18
_TIMEOUT_S = 30
_ATTEMPTS = 4


@dataclass(frozen=True)
class Remote:
    """One file of a publisher.

    sha256: its pinned content, or None. optional: a source may lack it. member_sha256: pinned content of the
    table in a zip that is called as the zip is, where the zip around it may differ.
    """

    name: str
    sha256: str | None
    optional: bool = False
    member_sha256: str | None = None


def download_files(
    files: Sequence[Remote], folder: Path, base: str, *, subfolder: str, progress: Progress
) -> None:
    """Fetch ``files`` into ``folder``; those already there and right are not fetched again.

    base: URL of the publisher's folder, or of one that holds it as ``subfolder``.
    Raises DataError naming the file for a source that cannot be reached, lacks a file, or sends another
    content than the pinned one.
    """
    if not base.startswith(("http://", "https://", "file://")):
        raise DataError(
            f"{base!r} is not an http, https or file URL", remedy="give a base URL such as file:///srv/data"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"cannot be made ({error.strerror})", file=folder, remedy="choose another folder"
        ) from error
    prefixes = [base.rstrip("/") + "/", f"{base.rstrip('/')}/{subfolder}/"]
    with progress.step("Downloading", total=len(files)) as step:
        for file in files:
            step.note(file.name)
            _one(file, folder / file.name, prefixes, step)
            step.advance()


def _one(file: Remote, target: Path, prefixes: list[str], step: Step) -> None:
    if target.exists() and _fault(target, file) == "":
        return
    part = target.with_name(f"{target.name}.part")
    for prefix in list(prefixes):
        if _fetch(prefix + file.name, part, step):
            prefixes[:] = [prefix]  # the others of this source lie beside it
            break
    else:
        if file.optional:
            step.note(f"{file.name}: not at this source, left out")
            return
        raise DataError(
            "is not at this source", file=prefixes[0] + file.name, remedy="name another with --from URL"
        )
    if fault := _fault(part, file):
        part.unlink()
        raise DataError(
            f"{fault}", file=prefixes[0] + file.name, remedy="try again, or name another with --from URL"
        )
    part.replace(target)


def _fault(path: Path, file: Remote) -> str:
    """What is wrong with a whole file, or an empty string."""
    if file.sha256 is not None:
        return "" if file_digest(path) == file.sha256 else "is not the published content (SHA-256 differs)"
    try:
        if file.name.endswith(".gz"):
            with gzip.open(path) as stream:
                while stream.read(_CHUNK):
                    pass
        elif file.name.endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                if (bad := archive.testzip()) is not None:
                    return f"is damaged (member {bad})"
                return _member_fault(archive, file)
        elif path.stat().st_size == 0:
            return "is empty"
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        return f"is damaged or truncated ({error})"
    return ""


def _member_fault(archive: zipfile.ZipFile, file: Remote) -> str:
    if file.member_sha256 is None:
        return ""
    tables = [name for name in archive.namelist() if name.endswith(".csv") and not is_hidden(name)]
    try:
        meant = the_one(tables, file.name.removesuffix(".zip"), file.name) if tables else ""
    except DataError as error:
        return error.problem
    if meant and hashlib.sha256(archive.read(meant)).hexdigest() == file.member_sha256:
        return ""
    return "does not hold the published table (SHA-256 differs)"


def _fetch(url: str, part: Path, step: Step) -> bool:
    """Bring ``part`` to the whole of ``url``; False where the source has no such file.

    Raises DataError when the source cannot be reached or keeps breaking off.
    """
    problem: object = "no answer"
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(min(0.2 * 4**attempt, 5))
        try:
            return _continue(url, part, lambda text: step.note(f"{part.stem} {text}"))
        except urllib.error.HTTPError as error:
            if error.code in (403, 404, 410):
                return False
            if error.code == 416:  # the part is whole already, or longer than the file
                part.unlink(missing_ok=True)
            problem = error
        except urllib.error.URLError as error:
            if isinstance(error.reason, FileNotFoundError) or "No such file" in str(error.reason):
                return False
            problem = error.reason
        except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
            problem = error
        except OSError as error:
            raise DataError(
                f"cannot be written ({error.strerror})", file=part, remedy="free space, try again"
            ) from error
    raise DataError(
        f"cannot be fetched ({problem})",
        file=url,
        remedy="try again: it goes on where it stopped; or name a mirror: --from URL",
    )


def _continue(url: str, part: Path, note: Callable[[str], None]) -> bool:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "ehrbench"})
    if have and not url.startswith("file:"):
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        resumed = getattr(answer, "status", None) == 206
        have = have if resumed else 0
        length = of_text(answer.headers.get("Content-Length", ""))
        total = None if length is None else have + int(length)
        with part.open("ab" if resumed else "wb") as out:
            while chunk := answer.read(_CHUNK):
                out.write(chunk)
                have += len(chunk)
                note(f"{have / 1e6:.1f} of {total / 1e6:.1f} MB" if total else f"{have / 1e6:.1f} MB")
    if total is not None and have < total:
        raise http.client.IncompleteRead(b"", total - have)
    return True
