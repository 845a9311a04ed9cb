"""What ``certificate.json`` states, and whether it still speaks of the run it lies beside.

The certificate itself is made and checked in full by ``ehrbench.spine.certificate``; that takes the data and
the ledger, which a report does not have. Checked here is what the folder alone can show: the statements agree
with one another and with ``summary.json``, and no file was altered after the certificate was written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from ehrbench.core.bundle import file_digest
from ehrbench.core.errors import BundleError
from ehrbench.core.run_folder import CERTIFICATE
from ehrbench.report.run import AGAIN, Run
from ehrbench.spine.dataset import Purpose

#: The one purpose that outer-test records may be handed out for.
TEST = "test"


@dataclass(frozen=True)
class Access:
    """Records that one outer fold handed out for one purpose; digest: of their ids."""

    purpose: str
    records: int
    outer_test_records: int
    digest: str


@dataclass(frozen=True)
class CertifiedFold:
    """One outer fold as the certificate has it; problems: what does not hold, empty where all does."""

    name: str
    digest: str
    n_train: int
    n_test: int
    n_test_groups: int
    accesses: tuple[Access, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Certified:
    """folds, and files (name -> SHA-256); problems: of the certificate as a whole."""

    folds: tuple[CertifiedFold, ...]
    files: Mapping[str, str]
    problems: tuple[str, ...]

    @property
    def failures(self) -> list[str]:
        """All that does not hold, in words; empty where all does."""
        return [*self.problems, *(f"fold {fold.name}: {p}" for fold in self.folds for p in fold.problems)]


def certified(run: Run) -> Certified:
    """The certificate of a run folder. Raises BundleError when it is missing or malformed."""
    path = run.folder / CERTIFICATE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        folds = tuple(_fold(fold, run) for fold in content["folds"])
        return Certified(folds, dict(content["files"]), tuple(_problems(content, run)))
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}) — {AGAIN}") from error
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{path}: altered or not a certificate — {AGAIN}") from error


def _problems(content: Mapping[str, Any], run: Run) -> Iterator[str]:
    if content["study_name"] != run.name or content["data_digest"] != run.summary["data"]["digest"]:
        yield "it is of another study or of other data"
    names, expected = (
        [fold["name"] for fold in content["folds"]],
        [fold["name"] for fold in run.summary["folds"]],
    )
    if names != expected:
        yield f"it speaks of folds {', '.join(names)}, and the summary of {', '.join(expected)}"
    for name, digest in content["files"].items():
        path = run.folder / name
        if not path.is_file() or file_digest(path) != digest:
            yield f"{name} was altered since"


def _fold(fold: Mapping[str, Any], run: Run) -> CertifiedFold:
    seen = fold["purposes"]
    order = [*(p for p in get_args(Purpose) if p in seen), *(p for p in seen if p not in get_args(Purpose))]
    accesses = tuple(Access(purpose, **seen[purpose]) for purpose in order)
    test, train = fold["test"], fold["train"]
    return CertifiedFold(
        fold["name"],
        fold["digest"],
        train["records"],
        test["records"],
        test["groups"],
        accesses,
        tuple(_faults(fold, accesses, run)),
    )


def _faults(fold: Mapping[str, Any], accesses: tuple[Access, ...], run: Run) -> Iterator[str]:
    said = {f["name"]: (f["digest"], f["n_train"], f["n_test"]) for f in run.summary["folds"]}
    if said.get(fold["name"]) != (fold["digest"], fold["train"]["records"], fold["test"]["records"]):
        yield "its records are not those in summary.json"
    for access in accesses:
        if access.purpose != TEST and access.outer_test_records:
            yield f"{access.outer_test_records} outer-test records were handed out for {access.purpose}"
        if access.purpose == TEST and (access.records, access.digest) != (
            fold["test"]["records"],
            fold["test"]["digest"],
        ):
            yield "the records predicted are not its outer test"
