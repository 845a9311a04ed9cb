"""Certifying: writes a finished search's certificate, and checks it again from the ledger alone."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ehrbench.app.backend import open_backend
from ehrbench.app.checking import check
from ehrbench.app.finished import decided_by_run, ledger_of, wire_run
from ehrbench.app.sealing import check_entered, check_seal, check_spent
from ehrbench.app.wiring import Wired
from ehrbench.core.bundle import file_digest
from ehrbench.core.errors import BundleError, ConfigError
from ehrbench.core.progress import Progress
from ehrbench.core.run_folder import CERTIFICATE, CERTIFIED, RunFolder
from ehrbench.spine.certificate import NotClean, certify, counterfactual
from ehrbench.spine.search import Backend, Search


def certificate(run: RunFolder, search: Search) -> dict[str, Any]:
    """The certificate of a search whose outputs stand in its folder."""
    return {**certify(search), "files": {name: file_digest(run / name) for name in CERTIFIED}}


def certify_run(
    folder: Path, *, counterfactual: bool, folds: Sequence[int] | None, progress: Progress
) -> None:
    """Check a run's files and certificate against data and ledger; print what holds.

    Raises BundleError naming a missing or altered file, NotClean naming what does not hold.
    """
    run = RunFolder.open(folder)
    written = _read(run)
    ledger = ledger_of(run)
    sealed = ledger is not None and check_entered(run, ledger)
    n_files = check_seal(run)
    if ledger is not None:
        check_spent(run, ledger)
    for name, expected in written["files"].items():
        if file_digest(run / name) != expected:
            raise NotClean(f"{run / CERTIFICATE}: speaks of another {name}")
    wired = wire_run(run, progress)
    again = certify(wired.search)
    for key, value in again.items():
        if written.get(key) != value:
            raise NotClean(f"{run / CERTIFICATE}: {key} is not what data and ledger say")
    print(f"{run.name}: certificate holds for {len(again['folds'])} folds, {n_files} files are as written")
    if not sealed:
        print("  checksums.json is not in the ledger, as of runs of earlier versions: its own word is taken")
    for fold in again["folds"]:
        purposes = ", ".join(f"{name} {p['records']:,}" for name, p in fold["purposes"].items())
        print(
            f"  fold {fold['name']:>3}: {fold['test']['records']:,} test records; handed out for {purposes}"
        )
    if counterfactual:
        _counterfactual(run, wired, folds, progress)


def _counterfactual(run: RunFolder, wired: Wired, folds: Sequence[int] | None, progress: Progress) -> None:
    search = wired.search
    chosen = [fold for fold in search.split.outer if folds is None or fold.index in folds]
    if not chosen:
        raise ConfigError("--folds", f"{list(folds or ())}: no such outer folds")
    for fold in chosen:
        decided = decided_by_run(run, search, fold)
        with ExitStack() as stack:

            def scratch(stack: ExitStack = stack) -> Backend:
                place = stack.enter_context(tempfile.TemporaryDirectory(prefix="ehrbench-"))
                return open_backend(check(_elsewhere(wired.config, place)))

            found = counterfactual(search, fold, decided, scratch, progress)
        compared = f"{found['compared']} fitted states and choices"
        line = f"  fold {fold.name:>3}: {compared} unchanged by other test records"
        if found["repeated"]:
            line += (
                "\n            (compared with the fold run once more on its own: the recorded search does "
                "not repeat itself, as with several workers or on another machine)"
            )
        print(line)


def _elsewhere(config: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """The configuration with an empty storage of its own and no tracker."""
    storage = {
        **config["storage"],
        "kind": "sqlite",
        "path": f"{folder}/ehrbench.db",
        "artifacts": f"{folder}/a",
        "checkpoints": None,
    }
    return {**config, "storage": storage, "tracker": {"kind": "none"}}


def _read(run: RunFolder) -> dict[str, Any]:
    path = run / CERTIFICATE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {**content, "files": dict(content["files"])}
    except OSError as error:
        raise BundleError(
            f"{path}: cannot be read ({error.strerror}) — is {run.path} a finished run?"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path}: altered or not a certificate") from error
