"""Seal of a run's folder: ``checksums.json``, the SHA-256 of every file that a search wrote there.

The certificate holds the digests of the tables it speaks of; the seal covers all the rest as well (slices,
explanations, page, figures, the certificate itself, and the bundle by its own checksums). ``ehrbench report``
and ``ehrbench explain`` write some files again and seal these alone, so that another file altered since the
search stays an altered one. Files that somebody else put into the folder are not looked at.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ehrbench.app.files import write_json
from ehrbench.core.bundle import CHECKSUMS, check_checksums, file_digest
from ehrbench.core.errors import BundleError

EXPLANATIONS = ("explanations.json",)
PAGE = ("report.html", "figures/*.svg")
#: All that a search writes, as patterns; a pattern need not be there.
WRITTEN = (
    "config.yaml",
    "summary.json",
    "predictions.csv",
    "records.csv",
    "skipped.csv",
    "trials.csv",
    "slices.json",
    "certificate.json",
    f"bundle/{CHECKSUMS}",
    *EXPLANATIONS,
    *PAGE,
)


def seal(folder: Path, patterns: Sequence[str] = WRITTEN) -> None:
    """Enter the files of these patterns as they are now; what is said of the others is kept.

    A folder that its search has not sealed stays so: a seal of some of its files would look like one of all.
    """
    if patterns != WRITTEN and not (folder / CHECKSUMS).exists():
        return
    kept = {} if patterns == WRITTEN else _read(folder)
    found = sorted(path for pattern in patterns for path in folder.glob(pattern))
    now = {path.relative_to(folder).as_posix(): file_digest(path) for path in found}
    write_json(folder / CHECKSUMS, kept | now)


def check_seal(folder: Path) -> int:
    """How many files are as they were written; BundleError naming the first that is missing or altered."""
    sums = _read(folder)
    for name, expected in sums.items():
        path = folder / name
        if not path.is_file():
            raise BundleError(f"{path}: missing — the run is not whole")
        if file_digest(path) != expected:
            raise BundleError(f"{path}: altered since the run wrote it")
    check_checksums(folder / "bundle")
    return len(sums)


def _read(folder: Path) -> dict[str, str]:
    path = folder / CHECKSUMS
    try:
        return dict(json.loads(path.read_text()))
    except OSError as error:
        raise BundleError(
            f"{path}: cannot be read ({error.strerror}) — is {folder} a finished run? The search's command, "
            "run again, writes it anew"
        ) from error
    except (ValueError, TypeError) as error:
        raise BundleError(f"{path}: altered or no list of checksums") from error
