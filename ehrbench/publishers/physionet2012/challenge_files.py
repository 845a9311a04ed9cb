"""Where PhysioNet 2012's files lie, and where they come from."""

from __future__ import annotations

from pathlib import Path

from ehrbench.core.errors import DataError
from ehrbench.publishers.downloading import Remote

FOLDER = "physionet2012"
PUBLISHER = "https://physionet.org/files/challenge-2012/1.0.0/"
#: SHA-256 as published in version 1.0.0; None where it is not pinned (the archive itself is still checked).
FILES: tuple[Remote, ...] = (
    Remote("set-a.tar.gz", "b000fbaaec6add1228cba14791e7beb5030df7ceb4612a1bddef0586b782324c"),
    Remote("set-b.tar.gz", "e6b0f6f65242abe30eacc08a2dbf0274abb16682446c03e79cd82c49f2a3c9da"),
    Remote("Outcomes-a.txt", "2613ea60ccda29f87571a7d6b09ad130858a8ccd66325bd073365925026883c2"),
    Remote("Outcomes-b.txt", "1305f29734da374a809483229a99f33a9230aa8d4fa74b1a2d6ad788136423d5"),
    Remote("set-c.tar.gz", None, optional=True),
    Remote("Outcomes-c.txt", None, optional=True),
)


def records_path(folder: Path, name: str, remedy: str) -> Path:
    """The archive or extracted folder of one set; an archive is preferred."""
    for path in (folder / f"set-{name}.tar.gz", folder / f"set-{name}"):
        if path.exists():
            return path
    raise DataError(f"set {name} is not there", file=folder / f"set-{name}.tar.gz", remedy=remedy)
