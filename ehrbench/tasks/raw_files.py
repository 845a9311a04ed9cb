"""Raw text files of records: from an archive, a folder, or one file."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from pathlib import Path

from ehrbench.core.errors import DataError
from ehrbench.core.task import RawInput

_SUFFIX = ".txt"


def read_raw_files(path: Path, remedy: str) -> list[RawInput]:
    """The ``.txt`` files of a ``.tar.gz``, a folder or a single file, sorted by name.

    Sorted, so that an archive and its extracted folder give the same records in the same order.
    Raises DataError for a path that is absent, empty, truncated or damaged; ``remedy`` ends the message.
    """
    try:
        if path.is_dir():
            found = [(p.name, p.read_bytes()) for p in path.glob(f"*{_SUFFIX}")]
        elif path.name.endswith((".tar.gz", ".tgz", ".tar")):
            found = _members(path, remedy)
        else:
            found = [(path.name, path.read_bytes())]
    except FileNotFoundError:
        raise DataError("does not exist", file=path, remedy=remedy) from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", file=path, remedy=remedy) from error
    if not found:
        raise DataError(f"holds no {_SUFFIX} records", file=path, remedy=remedy)
    return [
        RawInput(f"{path.name}/{name}" if path.name != name else name, body) for name, body in sorted(found)
    ]


def _members(path: Path, remedy: str) -> list[tuple[str, bytes]]:
    data = path.read_bytes()
    try:
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            found = []
            for member in archive:
                name = member.name.rsplit("/", 1)[-1]
                if member.isfile() and name.endswith(_SUFFIX) and not name.startswith("."):
                    body = data[member.offset_data : member.offset_data + member.size]
                    if len(body) != member.size:
                        raise EOFError
                    found.append((name, body))
            return found
    except EOFError:
        raise DataError("is truncated", file=path, remedy=remedy) from None
    except (gzip.BadGzipFile, zlib.error, tarfile.TarError) as error:
        raise DataError(f"is damaged ({error})", file=path, remedy=remedy) from error
