"""Seal of a run's folder: ``checksums.json``, the SHA-256 of every file that a search wrote there.

The certificate holds the digests of the tables it speaks of; the seal covers all the rest as well (slices,
explanations, page, figures, the certificate itself, and the bundle by its own checksums). The seal's own
digest is entered in the ledger, so that the list cannot be altered unseen either. Seals are a chain
(``seal.json``, itself sealed): each names those before it, the tickets that every study had spent, and a
digest of their parameters, values and models, so that a ledger put back, a seal deleted from it, a value
edited in it or a model exchanged is seen from the folder. Who owns both may write both anew: no seal shows
that.

``ehrbench report`` and
``ehrbench explain`` write some files again and seal these alone, so that another file altered since the
search stays an altered one. Files that somebody else put into the folder are not looked at.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from ehrbench.core.bundle import check_checksums, check_listed, file_digest
from ehrbench.core.digest import digest
from ehrbench.core.errors import BundleError
from ehrbench.core.files import CHECKSUMS, write_json
from ehrbench.core.ledger import SPENT, Ledger
from ehrbench.core.run_folder import CHAIN, SEALED, RunFolder

#: Names of the seals in the ledger, before their SHA-256.
SEAL = "seal/"


def seal(run: RunFolder, ledger: Ledger | None, patterns: Sequence[str] = SEALED) -> bool:
    """Enter the files of these patterns as they are now, what is said of the others is kept; whether it was.

    Not where the search has not sealed the folder: a seal of some of its files would look like one of all.
    Nor without the ledger that the search's seal stands in. Raises BundleError for a seal that was altered.
    """
    if patterns != SEALED and (ledger is None or not (run / CHECKSUMS).exists()):
        return False
    if patterns == SEALED and ledger is not None:
        before = ledger.result_names(run.name, SEAL)
        write_json(
            run / CHAIN, {"before": [name.removeprefix(SEAL) for name in before], **_spent(run, ledger)}
        )
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

    Raises BundleError where it does and the folder's is none of them, and where it lacks seals of the chain.
    """
    known = ledger.result_names(run.name, SEAL)
    path = run / CHECKSUMS
    if (run / CHAIN).exists():
        lost = [one for one in _chain(run)["before"] if SEAL + one not in known]
        if lost or not known:
            raise BundleError(
                f"{run / CHAIN}: the ledger lacks seal {(lost or ['of this run'])[0][:12]}: it was put back, "
                f"or seals were deleted — put the run's own ledger in its place"
            )
    if known and path.exists() and SEAL + file_digest(path) not in known:
        raise BundleError(f"{path}: altered since the run wrote it (its digest is not in the ledger)")
    return bool(known)


def check_spent(run: RunFolder, ledger: Ledger) -> None:
    """BundleError where the ledger holds other tickets, values or models than when the run was sealed."""
    if not (run / CHAIN).exists():  # as of earlier versions
        return
    sealed, now = _chain(run), _spent(run, ledger)
    for study, n in now["budget"].items():
        if sealed["budget"].get(study) != n:
            raise BundleError(
                f"{run / CHAIN}: {study} had spent {sealed['budget'].get(study)} trials, and the ledger says "
                f"{n} — put the run's own ledger in its place, or run the search's command again"
            )
    for study, digest_ in now["trials"].items():
        if sealed["trials"].get(study) != digest_:
            raise BundleError(
                f"{run / CHAIN}: trials of {study} are not those of the ledger: parameters, a value, "
                f"predictions or a model was altered — put the run's own ledger in its place"
            )


def _spent(run: RunFolder, ledger: Ledger) -> dict[str, Any]:
    """Study -> spent tickets, and study -> digest of what they tried, scored and left."""
    budget, trials = {}, {}
    for key in ledger.studies(run.name):
        spent = [row for row in ledger.tickets(key) if row.state in SPENT]
        budget[str(key)] = len(spent)
        trials[str(key)] = digest([[
            row.number, str(row.state), dict(row.params or {}), row.value,
            sorted([fit.fold, fit.score, fit.best_step, fit.predictions, fit.model] for fit in row.fits),
        ] for row in spent])  # fmt: skip
    return {"budget": budget, "trials": trials}


def _chain(run: RunFolder) -> dict[str, Any]:
    path = run / CHAIN
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: content[name] for name in ("before", "budget", "trials")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path}: altered or no seal — put the file back that the search wrote") from error


def check_seal(run: RunFolder) -> int:
    """How many files are as they were written; BundleError naming the first that is missing or altered."""
    sums = _read(run)
    check_listed(run.path, sums, "missing — the run is not whole", "altered since the run wrote it")
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
