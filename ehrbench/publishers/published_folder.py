"""PublishedFolder: a publisher whose files lie in one folder under the data folder, or directly in it.

A simulated cohort is marked by a file of its own, and never mixed with the publisher's files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from ehrbench.core.errors import ConfigError, DataError
from ehrbench.core.task import Publisher
from ehrbench.publishers.caching import holds_real_files

SIMULATED = "SIMULATED"


class PublishedFolder(Publisher):
    """Says where its files lie and what else they may be called; reading them is each publisher's own."""

    #: Folders under the data folder in which the files may lie; the first is where they are fetched to.
    folders: ClassVar[tuple[str, ...]]
    #: The publisher's sets.
    sets: ClassVar[tuple[str, ...]]
    #: What to do to get the files, at the end of messages.
    get: ClassVar[str]
    #: First line of a simulated cohort's mark.
    notice: ClassVar[str]

    def default_sets(self) -> tuple[str, ...]:
        return self.sets

    def chosen_sets(self, sets: Sequence[str]) -> tuple[str, ...]:
        """Each once, the default where none is named; ConfigError for one that is no set."""
        for name in sets:
            if name not in self.sets:
                raise ConfigError("data.sets", f"{name!r} is no set", f"choose among {', '.join(self.sets)}")
        return tuple(dict.fromkeys(sets)) or self.default_sets()

    def folder(self, root: Path) -> Path:
        """Where the files lie; DataError where there is no data folder at all."""
        if not root.is_dir():
            raise DataError("no such data folder", file=root, remedy=self.get)
        return next((root / name for name in self.folders if (root / name).is_dir()), root)

    def download_folder(self, root: Path) -> Path:
        """Where files are fetched to; DataError where a simulated cohort lies there."""
        folder = root / self.folders[0]
        if (folder / SIMULATED).exists():
            raise DataError(
                "holds a simulated cohort", file=folder, remedy="move it away, or choose another folder"
            )
        return folder

    @contextmanager
    def simulated_folder(self, root: Path) -> Iterator[Path]:
        """A folder to write a simulated cohort into, marked as such; refuses one with a publisher's files.

        What cannot be written inside is a DataError that names the folder.
        """
        folder = root / self.folders[0]
        if holds_real_files(folder) and not (folder / SIMULATED).exists():
            raise DataError("is not empty and not simulated", file=folder, remedy="choose another folder")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / SIMULATED).write_text(f"{self.notice}\n", encoding="utf-8")
            yield folder
        except OSError as error:
            problem = f"cannot be written ({error.strerror})"
            raise DataError(problem, file=folder, remedy="choose another folder") from error


def cohort_label(folder: Path) -> str:
    """A cohort's label by its folder."""
    return "simulated" if (folder / SIMULATED).exists() else "publisher"
