"""Spool: tracker calls on disk, in order, until a tracking server has taken them.

One file a process, ``<name>.jsonl``, appended to and never rewritten; ``<name>.offset`` says how far it has
been replayed, and ``<name>.files/`` holds copies of artifacts, because their originals may change. A process
keeps its file locked while it lives: a file nobody locks is an orphan of a crash, and the next process to
start adopts it.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_SUFFIX = ".jsonl"


class Spool:
    """One spool file, locked by this process. ``append`` may be called from several threads."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self._descriptor = path, descriptor
        self._lock = threading.Lock()
        self.offset = self._read_offset()

    @staticmethod
    def create(folder: Path) -> Spool:
        """A new file; its name sorts by time."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}{_SUFFIX}"
        draft = path.with_suffix(".new")
        descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        draft.rename(path)  # seen only when it is locked: before, it would be an orphan
        return Spool(path, descriptor)

    @staticmethod
    def adopt_orphans(folder: Path) -> list[Spool]:
        """Files whose processes are gone, oldest first, now locked by this process; not other users'."""
        adopted = []
        for path in sorted(folder.glob(f"*{_SUFFIX}")):
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
            except OSError:  # gone by now, or another user's
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                continue
            if path.exists():
                adopted.append(Spool(path, descriptor))
            else:  # another process has just finished it
                os.close(descriptor)
        return adopted

    @property
    def files(self) -> Path:
        return self.path.with_suffix(".files")

    def append(self, event: Mapping[str, Any]) -> None:
        """Add one event: it survives the process's death, though not a power cut a moment later."""
        line = (json.dumps(event) + "\n").encode()
        with self._lock:
            written = os.write(self._descriptor, line)
            if written != len(line):
                os.truncate(self.path, os.fstat(self._descriptor).st_size - written)
                raise OSError(28, "no space left for the spool", str(self.path))

    def keep(self, source: Path) -> str:
        """Copy a file or folder beside the spool; its name there."""
        name = uuid.uuid4().hex
        place = self.files / name
        self.files.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, place)
        else:
            place.mkdir()
            shutil.copy2(source, place / source.name)
        return name

    def batch(self, limit: int) -> tuple[list[dict[str, Any]], int]:
        """The next whole lines, at most ``limit``, and the offset after them."""
        events: list[dict[str, Any]] = []
        with self.path.open("rb") as file:
            file.seek(self.offset)
            end = self.offset
            while len(events) < limit and (line := file.readline()).endswith(b"\n"):
                end += len(line)
                event = json.loads(line)
                if "kept" in event:  # in earlier versions with the folder, which may have been moved
                    event["kept"] = str(self.files / Path(event["kept"]).name)
                events.append(event)
        return events, end

    def done(self, offset: int) -> None:
        """Remember, for the next process too, that everything before ``offset`` has been taken."""
        self.offset = offset
        place = self.path.with_suffix(".offset")
        partial = place.with_suffix(".partial")
        partial.write_text(str(offset), encoding="utf-8")
        partial.replace(place)

    def waiting(self) -> int:
        """Events not yet taken."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))

    def close(self) -> None:
        """Remove the file if everything in it has been taken, and give up the lock."""
        if self.waiting() == 0:
            shutil.rmtree(self.files, ignore_errors=True)
            self.path.with_suffix(".offset").unlink(missing_ok=True)
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def _read_offset(self) -> int:
        try:
            return int(self.path.with_suffix(".offset").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return 0


@contextmanager
def folder_lock(folder: Path, name: str) -> Iterator[None]:
    """One process of this machine at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
