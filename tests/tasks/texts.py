"""Record texts in the publisher's format, and a small cohort of them, for the tests."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

HEAD = b"Time,Parameter,Value\n"
OUTCOMES = "RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death\n"


def record_text(record: int, *lines: str) -> bytes:
    """A well-formed record: descriptors, then ``lines``."""
    first = [f"00:00,RecordID,{record}", "00:00,Age,54", "00:00,Gender,0", "00:00,Height,-1"]
    first += ["00:00,ICUType,4", "00:00,Weight,70"]
    return HEAD + "\n".join([*first, *lines]).encode() + b"\n"


def write_set(folder: Path, name: str, records: dict[int, bytes], died: set[int] = frozenset()) -> None:
    """``set-<name>.tar.gz`` and ``Outcomes-<name>.txt`` under ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for record, body in records.items():
            member = tarfile.TarInfo(f"set-{name}/{record}.txt")
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    (folder / f"set-{name}.tar.gz").write_bytes(gzip.compress(buffer.getvalue(), mtime=0))
    rows = "".join(f"{record},6,1,5,-1,{int(record in died)}\n" for record in records)
    (folder / f"Outcomes-{name}.txt").write_text(OUTCOMES + rows)
