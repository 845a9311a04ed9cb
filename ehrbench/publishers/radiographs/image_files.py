"""Image files: where a publisher's images lie, in zip archives or loose in folders, by their path."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ehrbench.core.errors import DataError
from ehrbench.tasks.radiographs.reading import FORMS

_ENDINGS = tuple(ending for form in FORMS for ending in form.endings)


@dataclass(frozen=True)
class ImageFile:
    """One image, not read yet.

    mark: what tells its content apart without reading it: a zip's checksum and size, or size and time of a
    loose file.
    """

    path: Path
    mark: tuple[int, int]
    archive: zipfile.ZipFile | None = None

    def read(self) -> bytes:
        """Its bytes; DataError where they cannot be read."""
        try:
            if self.archive is None:
                return self.path.read_bytes()
            return self.archive.read(str(self.path))
        except (OSError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
            remedy = "get the publisher's files again"
            raise DataError(f"cannot be read ({error})", file=self.path, remedy=remedy) from error


def image_files(folder: Path, remedy: str) -> Mapping[str, ImageFile]:
    """Every image under ``folder`` and in its zip archives, by its path in there with ``/``."""
    found: dict[str, ImageFile] = {}
    for path in sorted(folder.glob("*.zip")):
        try:
            archive = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise DataError(f"is damaged or truncated ({error})", file=path, remedy=remedy) from error
        for member in archive.infolist():
            if _is_image(member.filename):
                mark = (member.CRC, member.file_size)
                found[member.filename] = ImageFile(Path(member.filename), mark, archive)
    for loose in sorted(folder.rglob("*")):
        name = loose.relative_to(folder).as_posix()
        if _is_image(name) and loose.is_file():
            stat = loose.stat()
            found[name] = ImageFile(loose, (stat.st_mtime_ns, stat.st_size))
    return found


def _is_image(name: str) -> bool:
    hidden = any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
    return name.lower().endswith(_ENDINGS) and not hidden
