"""Raw files of records: from a folder, an archive, or one file, whatever a machine has laid beside them.

What a file is, its first bytes say, not its ending: tar and zip, or packed alone, by gzip, bzip2 or xz.
Hidden files and macOS's ``__MACOSX`` belong to the machine and are not looked at; whatever else is no record
is named, as is one that cannot be read, and neither keeps the others from being read.
"""

from __future__ import annotations

import importlib
import io
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ehrbench.core.errors import DataError
from ehrbench.core.task import Form, Parsed, RawInput, Skipped, Task

#: First bytes of what a module of Python's unpacks.
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\0": "lzma"}
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
#: Endings of archives: what is called so and is none was cut off, or never was one.
_ENDINGS = (".zip", ".gz", ".bz2", ".xz", ".tgz")
_FOREIGN = {b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!": "RAR", b"\x28\xb5\x2f\xfd": "Zstandard"}
_TAR_AT, _TAR = 257, b"ustar"
_DAMAGED = (
    *(EOFError, OSError, RuntimeError, ValueError),  # Runtime: a password; Value: bzip2's cut short
    *(zlib.error, tarfile.TarError, zipfile.BadZipFile),
)
_FOLDER, _ENDING = "is a folder, left out", "is no record by its ending, left out"
#: Problems of files that are no records, and no fault of those that are.
LEFT_OUT = frozenset({_FOLDER, _ENDING})


@dataclass(frozen=True)
class RawFiles:
    """What one place holds, by name: so an archive and its extracted folder give the same.

    left_out: of other kinds (their problems are ``LEFT_OUT``); lost: records by their names that cannot be
    read.
    """

    inputs: tuple[RawInput, ...]
    left_out: tuple[Skipped, ...] = ()
    lost: tuple[Skipped, ...] = ()

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        return self.lost + self.left_out


@dataclass(frozen=True)
class _Entry:
    """One file: its path within the place, and its bytes, or why there are none."""

    path: str
    body: bytes | None
    problem: str = ""

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]


def read_raw_files(path: Path, forms: Sequence[Form], remedy: str, *, wanted: str = "") -> RawFiles:
    """The files of these forms in a folder or an archive, or the single file that ``path`` is.

    wanted: of several files only one is meant, the one of this name or the only one there is.
    Raises DataError for a path that is absent, empty, truncated or damaged, or that holds several files where
    one is meant; ``remedy`` ends the message.
    """
    endings = tuple(ending for form in forms for ending in form.endings)
    try:
        entries = _of_folder(path, endings) if path.is_dir() else _of_file(path, path.read_bytes(), endings)
    except FileNotFoundError:
        raise DataError("does not exist", file=path, remedy=remedy) from None
    except EOFError:
        raise DataError("is truncated", file=path, remedy=remedy) from None
    except ImportError as error:  # a Python built without bzip2 or xz
        raise DataError(f"cannot be unpacked here ({error})", file=path, remedy="unpack it") from error
    except _DAMAGED as error:
        said = error.strerror if isinstance(error, OSError) else None  # the system's, not an archive's
        problem = f"cannot be read ({said})" if said else f"is damaged ({error})"
        raise DataError(problem, file=path, remedy=remedy) from error
    if wanted and (found := [entry.path for entry in entries if entry.body is not None]):
        meant = the_one(found, wanted, path)
        entries = [entry for entry in entries if entry.path == meant]
    return _sorted(path, entries, remedy, endings)


def parse_files(task: Task, path: Path) -> Parsed:
    """The records, without labels, of a raw file, or a folder or an archive of such (batch inference).

    Raises DataError for a file that cannot be read where one file holds many records: nobody knows how many.
    """
    titles = ", ".join(f"{form.title} ({', '.join(form.endings)})" for form in task.forms)
    raw = read_raw_files(path, task.forms, f"give {titles}, or a folder or an archive of them")
    for lost in raw.lost if any(form.many for form in task.forms) else ():
        raise DataError(lost.problem, file=lost.file, remedy="mend it, or take it away")
    parsed = task.parse(raw.inputs, strict=False)
    return replace(parsed, skipped=parsed.skipped + raw.skipped, n_lost=parsed.n_lost + len(raw.lost))


def the_one(paths: Sequence[str], wanted: str, archive: object) -> str:
    """Of the paths in an archive, at least one, that of the file called ``wanted``, or the only one.

    Raises DataError naming them where it is not plain which is meant.
    """
    found = [path for path in paths if path.rsplit("/", 1)[-1] == wanted] or list(paths)
    if len(found) > 1:
        problem = f"holds several: {', '.join(sorted(found))}"
        raise DataError(problem, file=archive, remedy=f"leave one in it, or one called {wanted}")
    return found[0]


def is_hidden(path: str) -> bool:
    """Whether a machine has put it there for itself."""
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    return any(part == "__MACOSX" or part.startswith(".") for part in parts)


def _sorted(path: Path, entries: Sequence[_Entry], remedy: str, endings: tuple[str, ...]) -> RawFiles:
    place = as_text(path.absolute().name)
    inputs: list[RawInput] = []
    left_out: list[Skipped] = []
    lost: list[Skipped] = []
    for entry in sorted(entries, key=lambda entry: (entry.name, entry.path)):
        name = f"{place}/{entry.name}" if entry.path else place
        if entry.body is not None:
            inputs.append(RawInput(name, entry.body))
        else:
            stem = next((entry.name[: -len(e)] for e in endings if _is_record(entry.name, (e,))), entry.name)
            listed = left_out if entry.problem in LEFT_OUT else lost
            listed.append(Skipped(name, stem, "file", entry.problem))
    if not inputs and lost:
        raise DataError(lost[0].problem, file=lost[0].file, remedy=remedy)
    if not inputs:
        others = ", ".join(one.file for one in left_out[:3]) + ", …" * (len(left_out) > 3)
        problem = f"holds no {' or '.join(endings)} records" + f", but {others}" * bool(others)
        raise DataError(problem, file=path, remedy=remedy)
    return RawFiles(tuple(inputs), tuple(left_out), tuple(lost))


def _of_folder(folder: Path, endings: tuple[str, ...]) -> list[_Entry]:
    found = []
    for path in folder.iterdir():
        name = as_text(path.name)
        if is_hidden(name):
            continue
        if not _is_record(name, endings):
            found.append(_Entry(name, None, _FOLDER if path.is_dir() else _ENDING))
            continue
        try:
            regular = stat.S_ISREG(path.stat().st_mode) or path.is_dir()  # which cannot be read, and says so
            found.append(_Entry(name, path.read_bytes()) if regular else _Entry(name, None, "is no file"))
        except OSError as error:
            found.append(_Entry(name, None, f"cannot be read ({error.strerror})"))
    return found


def _of_file(path: Path, data: bytes, endings: tuple[str, ...]) -> list[_Entry]:
    """An archive's members, or the file itself."""
    for start, kind in _FOREIGN.items():
        if data.startswith(start):
            remedy = "unpack it, or pack it as .tar.gz or .zip"
            raise DataError(f"is a {kind} archive", file=path, remedy=remedy)
    if data.startswith(_ZIP):
        return _of_zip(data, endings)
    module = next((module for start, module in _PACKED.items() if data.startswith(start)), None)
    data = data if module is None else _unpack(data, module)
    if data[_TAR_AT:].startswith(_TAR) or ".tar" in path.suffixes:
        return _of_tar(data, endings)
    if module is None and path.suffix.lower() in _ENDINGS:
        raise ValueError("it is no archive")
    return [_Entry("", data)]


def _unpack(data: bytes, module: str) -> bytes:
    packer = importlib.import_module(module)
    try:
        unpacked: bytes = packer.decompress(data)
    except getattr(packer, "LZMAError", ()) as error:  # the one that is no error of values or files
        raise ValueError(str(error)) from error
    return unpacked


def _of_tar(data: bytes, endings: tuple[str, ...]) -> list[_Entry]:
    found = []
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:", encoding="utf-8") as archive:
        for member in archive:
            path = _text_of(member.name.encode("utf-8", "surrogateescape"))
            if member.isdir() or is_hidden(path):
                continue
            if not _is_record(path, endings):
                found.append(_Entry(path, None, _ENDING))
            elif member.isreg():
                body = data[member.offset_data : member.offset_data + member.size]
                if len(body) != member.size:
                    raise EOFError
                found.append(_Entry(path, body))
            else:
                found.append(_linked(archive, member, path))
    return found


def _linked(archive: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> _Entry:
    """A member that is a link to another, or nothing that could be read."""
    try:
        file = archive.extractfile(member)
    except KeyError:
        return _Entry(path, None, f"is a link to {member.linkname}, which is not in the archive")
    return _Entry(path, None, "is no file") if file is None else _Entry(path, file.read())


def _of_zip(data: bytes, endings: tuple[str, ...]) -> list[_Entry]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [m for m in archive.infolist() if not m.is_dir() and not is_hidden(m.filename)]
        return [
            _Entry(m.filename, archive.read(m))
            if _is_record(m.filename, endings)
            else _Entry(m.filename, None, _ENDING)
            for m in members
        ]


def _is_record(name: str, endings: tuple[str, ...]) -> bool:
    return name.lower().endswith(endings)


def as_text(name: str) -> str:
    """A file's name as text, whatever bytes the machine that wrote it gave it."""
    return _text_of(os.fsencode(name))


def _text_of(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
