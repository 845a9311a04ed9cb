"""Raw files: records of a task's forms from an archive, a folder, or one file."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from ehrbench.core.errors import DataError
from ehrbench.core.task import Form, RawInput


def read_inputs(path: Path, forms: Sequence[Form], remedy: str) -> list[RawInput]:
    """The files of these forms in a ``.tar.gz``, a ``.zip`` or a folder, or a single file, sorted by name.

    Sorted, so that an archive and its extracted folder give the same records in the same order.
    Raises DataError for a path that is absent, empty, truncated or damaged; ``remedy`` ends the message.
    """
    endings = tuple(ending for form in forms for ending in form.endings)
    try:
        if path.is_dir():
            files = [p for p in path.iterdir() if p.name.lower().endswith(endings) and p.is_file()]
            found = [(p.name, p.read_bytes()) for p in files if not p.name.startswith(".")]
        elif path.name.endswith((".tar.gz", ".tgz", ".tar")):
            found = list(_tar_members(path, endings, remedy))
        elif path.suffix == ".zip":
            found = list(_zip_members(path, endings, remedy))
        else:
            found = [(path.name, path.read_bytes())]
    except FileNotFoundError:
        raise DataError("does not exist", file=path, remedy=remedy) from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", file=path, remedy=remedy) from error
    if not found:
        raise DataError(f"holds no {' or '.join(endings)} records", file=path, remedy=remedy)
    return [
        RawInput(f"{path.name}/{name}" if path.name != name else name, body) for name, body in sorted(found)
    ]


def _tar_members(path: Path, endings: tuple[str, ...], remedy: str) -> Iterator[tuple[str, bytes]]:
    data = path.read_bytes()
    try:
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for member in archive:
                name = member.name.rsplit("/", 1)[-1]
                if member.isfile() and name.lower().endswith(endings) and not name.startswith("."):
                    body = data[member.offset_data : member.offset_data + member.size]
                    if len(body) != member.size:
                        raise EOFError
                    yield name, body
    except EOFError:
        raise DataError("is truncated", file=path, remedy=remedy) from None
    except (gzip.BadGzipFile, zlib.error, tarfile.TarError) as error:
        raise DataError(f"is damaged ({error})", file=path, remedy=remedy) from error


def _zip_members(path: Path, endings: tuple[str, ...], remedy: str) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                name = member.rsplit("/", 1)[-1]
                if name.lower().endswith(endings) and not name.startswith((".", "__MACOSX")):
                    yield name, archive.read(member)
    except (EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:  # RuntimeError: a password
        raise DataError(f"is damaged, truncated or unreadable ({error})", file=path, remedy=remedy) from error
