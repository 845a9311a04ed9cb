"""FileArtifacts: a content-addressed store on a folder or any URL that fsspec knows (``s3://…``).

A file's name is the SHA-256 of its content, ``<root>/ab/cdef…``. Local files are written beside their place,
synced and renamed, so that a crash leaves whole files or none; object stores put whole objects anyway. What
is read is hashed again, and an altered file is an error, never a result.

A folder becomes one tar with fixed metadata (names in order, no times, no owners), so that the same files
always give the same digest, on any machine. No pickle.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import uuid
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from ehrbench.core.errors import ConfigError, StorageError
from ehrbench.core.ledger import ArtifactStore
from ehrbench.core.places import is_address

_PARTIAL = "partial"


class FileArtifacts(ArtifactStore):
    """Files under ``url``, a folder's path or an fsspec URL.

    options: to fsspec, for object stores (credentials).
    folders: where folders are, if not under ``url`` too; what was put there before is still found.
    """

    def __init__(
        self,
        url: str | Path,
        options: Mapping[str, Any] | None = None,
        folders: str | Path | None = None,
    ) -> None:
        self.url = str(url)
        self._files, self._root = file_system("ARTIFACTS_URL", self.url, options or {})
        self._local = "file" in _protocols(self._files)
        self._folders = FileArtifacts(folders, options) if folders else None

    def put(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        place = self._place(digest)
        try:
            if self._local:
                self._put_local(Path(place), content)
            elif not self._files.exists(place):
                self._files.pipe_file(place, content)
        except Exception as error:
            raise self._unusable("written", place, error) from error
        return digest

    def get(self, digest: str) -> bytes:
        place = self._place(digest)
        try:
            content: bytes = Path(place).read_bytes() if self._local else self._files.cat_file(place)
        except FileNotFoundError as error:
            raise StorageError(f"{place}: missing — restore it, or `ehrbench study doctor`") from error
        except Exception as error:
            raise self._unusable("read", place, error) from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise StorageError(
                f"{place}: altered since it was stored — restore it, or `ehrbench study doctor`"
            )
        return content

    def put_folder(self, folder: Path) -> str:
        return (self._folders or self).put(pack(folder))

    def get_folder(self, digest: str, into: Path) -> None:
        elsewhere = self._folders is not None and self._folders.holds(digest)
        store = self._folders if elsewhere and self._folders else self
        unpack(store.get(digest), into)

    def drop(self, digest: str) -> None:
        if self._folders is not None:
            self._folders.drop(digest)
        place = self._place(digest)
        try:
            self._files.rm_file(place)
        except FileNotFoundError:
            return
        except Exception as error:
            raise self._unusable("removed", place, error) from error

    def holds(self, digest: str) -> bool:
        """Whether there is a file for the digest; its content is not looked at."""
        return bool(self._files.exists(self._place(digest)))

    def partial_files(self) -> list[Path]:
        """Files that a crash left half-written (local stores only)."""
        here = sorted(Path(self._root).glob(f"*/*.{_PARTIAL}")) if self._local else []
        return here + (self._folders.partial_files() if self._folders is not None else [])

    def _place(self, digest: str) -> str:
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise StorageError(f"{digest!r} is not an artifact's digest — the ledger's row is damaged")
        return f"{self._root}/{digest[:2]}/{digest[2:]}"

    def _put_local(self, path: Path, content: bytes) -> None:
        if path.exists() and path.stat().st_size == len(content):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.{_PARTIAL}")
        try:
            with partial.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def _unusable(self, verb: str, place: str, error: Exception) -> Exception:
        """StorageError for a fault of the store; clients of object stores raise their own kinds of error."""
        if self._local and not isinstance(error, OSError):
            return error
        said = " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())
        which = "ARTIFACTS_URL" if self._local else "ARTIFACTS_URL, AWS_*"
        return StorageError(f"{place}: cannot be {verb} ({said}) — check {which}, rights and space")


def file_system(key: str, url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """fsspec's file system and the path in it; ``options`` are S3's and mean nothing elsewhere.

    Raises ConfigError, naming ``key``, for an address that no package here can open.
    """
    if not is_address(url):  # in which fsspec would take "::" for a chain of file systems
        return fsspec.filesystem("file"), str(Path(url).absolute())
    remote = url.startswith(("s3://", "s3a://"))
    try:
        files, root = fsspec.core.url_to_fs(url, **(dict(options) if remote else {}))
    except (ValueError, ImportError) as error:
        remedy = "install s3fs (EHRBENCH_EXTRAS=s3)" if remote else "install its fsspec backend"
        raise ConfigError(key, f"{url} cannot be used ({error})", f"{remedy}, or use a folder") from error
    return files, str(root)


def pack(folder: Path) -> bytes:
    """The files of a flat folder as an uncompressed tar that depends on their names and bytes alone."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(folder.iterdir(), key=lambda p: p.name):
            if not path.is_file() or path.is_symlink():
                raise StorageError(f"{path}: not a plain file — artifacts are flat folders")
            content = path.read_bytes()
            member = tarfile.TarInfo(path.name)
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def unpack(content: bytes, into: Path) -> None:
    """Write the files of ``pack`` into a folder; StorageError for anything but plain files in it."""
    into.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                file = archive.extractfile(member) if member.isreg() else None
                if file is None or len(name.parts) != 1 or name.name in ("", ".."):
                    raise StorageError(f"artifact: {member.name} is not a plain file of a flat folder")
                (into / name.name).write_bytes(file.read())
    except tarfile.TarError as error:
        raise StorageError(f"artifact: not a packed folder ({error})") from error


def _protocols(files: Any) -> tuple[str, ...]:
    return (files.protocol,) if isinstance(files.protocol, str) else tuple(files.protocol)
