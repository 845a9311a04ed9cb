"""Seal of a run's folder: ``checksums.json``, the SHA-256 of every file that a search wrote there.

The certificate holds the digests of the tables it speaks of; the seal covers all the rest as well (slices,
explanations, page, figures, the certificate itself, and the bundle by its own checksums). The seal's own
digest is entered in the ledger, so that the list cannot be altered unseen either. ``ehrbench report`` and
``ehrbench explain`` write some files again and seal these alone, so that another file altered since the
search stays an altered one. Files that somebody else put into the folder are not looked at.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import PurePosixPath

from ehrbench.core.bundle import check_checksums, file_digest
from ehrbench.core.errors import BundleError
from ehrbench.core.files import CHECKSUMS, write_json
from ehrbench.core.ledger import Ledger
from ehrbench.core.run_folder import SEALED, RunFolder

#: Names of the seals in the ledger, before their SHA-256.
SEAL = "seal/"


def seal(run: RunFolder, ledger: Ledger | None, patterns: Sequence[str] = SEALED) -> bool:
    """Enter the files of these patterns as they are now, what is said of the others is kept; whether it was.

    Not where the search has not sealed the folder: a seal of some of its files would look like one of all.
    Nor without the ledger that the search's seal stands in. Raises BundleError for a seal that was altered.
    """
    if patterns != SEALED and (ledger is None or not (run / CHECKSUMS).exists()):
        return False
    kept: dict[str, str] = {}
    known = True
    if patterns != SEALED and ledger is not None:
        known = check_entered(run, ledger)
        kept = {
            name: digest
            for name, digest in _read(run).items()
            if not any(PurePosixPath(name).match(pattern) for pattern in patterns)
        }
    found = sorted(path for pattern in patterns for path in run.path.glob(pattern))
    now = {path.relative_to(run.path).as_posix(): file_digest(path) for path in found}
    write_json(run / CHECKSUMS, kept | now)
    if ledger is not None and known:
        digest = file_digest(run / CHECKSUMS)
        ledger.put_result(run.name, SEAL + digest, digest.encode())
    return True


def check_entered(run: RunFolder, ledger: Ledger) -> bool:
    """Whether the ledger knows seals of this run, as it does since they are entered there.

    Raises BundleError where it does and the folder's is none of them.
    """
    known = ledger.result_names(run.name, SEAL)
    path = run / CHECKSUMS
    if known and path.exists() and SEAL + file_digest(path) not in known:
        raise BundleError(f"{path}: altered since the run wrote it (its digest is not in the ledger)")
    return bool(known)


def check_seal(run: RunFolder) -> int:
    """How many files are as they were written; BundleError naming the first that is missing or altered."""
    sums = _read(run)
    for name, expected in sums.items():
        path = run / name
        if not path.is_file():
            raise BundleError(f"{path}: missing — the run is not whole")
        if file_digest(path) != expected:
            raise BundleError(f"{path}: altered since the run wrote it")
    check_checksums(run.bundle)
    return len(sums)


def _read(run: RunFolder) -> dict[str, str]:
    path = run / CHECKSUMS
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise BundleError(
            f"{path}: cannot be read ({error.strerror}) — is {run.path} a finished run? The search's "
            "command, run again, writes it anew"
        ) from error
    except (ValueError, TypeError) as error:
        raise BundleError(f"{path}: altered or no list of checksums") from error
