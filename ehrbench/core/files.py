"""Files that stand whole or not at all: written beside their place, then moved there.

A link is followed, and what is no plain file (a pipe, a terminal, ``/dev/stdout``) is written to and never
replaced: it belongs to somebody else.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ehrbench.core.errors import StorageError

#: The SHA-256 of a folder's other files: a bundle's, a run's.
CHECKSUMS = "checksums.json"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False), encoding="utf-8")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file whose content stands at ``path`` once written; StorageError where that fails."""
    try:
        if (another := _another(path)) is not None:
            with TemporaryDirectory(prefix="ehrbench-") as folder:
                temporary = Path(folder) / path.name
                yield temporary
                with temporary.open("rb") as written, os.fdopen(another(), "wb") as file:
                    shutil.copyfileobj(written, file)
            return
        place = path.resolve()
        temporary = place.with_name(f".{place.name}.{os.getpid()}")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            temporary.replace(place)
        finally:
            with suppress(OSError):  # where nothing can be written, nothing can be removed either
                temporary.unlink()
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written ({error.strerror or error}) — mend rights or space, or name another "
            "folder, then run the same command again"
        ) from error


def _another(path: Path) -> Callable[[], int] | None:
    """What opens the file that stands there, where it is not ours to replace; None where it is."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    for stream in (sys.stdout, sys.stderr):  # or a file that a shell has opened for it
        with suppress(OSError, AttributeError, ValueError):  # closed, or none of the process's
            if os.path.samestat(found, os.fstat(stream.fileno())):
                stream.flush()
                return partial(os.dup, stream.fileno())
    if stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode):
        return None
    return partial(os.open, path, os.O_WRONLY | os.O_APPEND)
