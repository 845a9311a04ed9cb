"""Certifying: writes a finished search's certificate, and checks it again from the ledger alone."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ehrbench.app.checking import check
from ehrbench.app.sealing import check_entered, check_seal
from ehrbench.app.wiring import Wired, open_backend, open_ledger, wire
from ehrbench.core.bundle import file_digest
from ehrbench.core.errors import BundleError, ConfigError, EhrbenchError, StudyMismatch
from ehrbench.core.ledger import Ledger
from ehrbench.core.progress import Progress
from ehrbench.spine.certificate import NotClean, certify, counterfactual
from ehrbench.spine.folds import OuterFold
from ehrbench.spine.procedure import Decided
from ehrbench.spine.search import Backend, Search

#: What a certificate holds the digests of; ``sealing`` covers the rest of the folder.
FILES = ("summary.json", "predictions.csv", "records.csv", "skipped.csv", "trials.csv", "config.yaml")


def certificate(folder: Path, search: Search) -> dict[str, Any]:
    """The certificate of a search whose outputs stand in ``folder``."""
    return {**certify(search), "files": {name: file_digest(folder / name) for name in FILES}}


def certify_run(
    folder: Path, *, counterfactual: bool, folds: Sequence[int] | None, progress: Progress
) -> None:
    """Check a run's files and certificate against data and ledger; print what holds.

    Raises BundleError naming a missing or altered file, NotClean naming what does not hold.
    """
    written = _read(folder)
    ledger = ledger_of(folder)
    sealed = ledger is not None and check_entered(folder, ledger)
    n_files = check_seal(folder)
    for name, expected in written["files"].items():
        if file_digest(folder / name) != expected:
            raise NotClean(f"{folder / 'certificate.json'}: speaks of another {name}")
    wired = wire_run(folder, progress)
    again = certify(wired.search)
    for key, value in again.items():
        if written.get(key) != value:
            raise NotClean(f"{folder / 'certificate.json'}: {key} is not what data and ledger say")
    print(f"{folder.name}: certificate holds for {len(again['folds'])} folds, {n_files} files are as written")
    if not sealed:
        print("  checksums.json is not in the ledger, as of runs of earlier versions: its own word is taken")
    for fold in again["folds"]:
        purposes = ", ".join(f"{name} {p['records']:,}" for name, p in fold["purposes"].items())
        print(
            f"  fold {fold['name']:>3}: {fold['test']['records']:,} test records; handed out for {purposes}"
        )
    if counterfactual:
        _counterfactual(folder, wired, folds, progress)


def _counterfactual(folder: Path, wired: Wired, folds: Sequence[int] | None, progress: Progress) -> None:
    search = wired.search
    chosen = [fold for fold in search.split.outer if folds is None or fold.index in folds]
    if not chosen:
        raise ConfigError("--folds", f"{list(folds or ())}: no such outer folds")
    for fold in chosen:
        decided = decided_by_run(folder, search, fold)
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


def wire_run(folder: Path, progress: Progress) -> Wired:
    """A finished run's search, wired again from its own configuration."""
    config = _config(folder)
    return wire(config, check(config), folder.name, progress)


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.yaml"
    if not path.is_file():
        raise BundleError(f"{path}: missing — is {folder} a finished run?")
    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: altered or not YAML") from error
    if not isinstance(content, dict):
        raise BundleError(f"{path}: altered or not a configuration")
    return {str(k): v for k, v in content.items()} | {"tracker": {"kind": "none"}}


def ledger_of(folder: Path) -> Ledger | None:
    """The ledger that a run's configuration names, None where it is not at hand; nothing is made."""
    try:
        settings = check(_config(folder))
        if settings.storage.kind == "sqlite" and not Path(settings.storage.path).is_file():
            return None
        return open_ledger(settings)[1]
    except EhrbenchError:
        return None


def decided_by_run(folder: Path, search: Search, fold: OuterFold) -> Decided:
    """What a finished run decided for an outer fold; StudyMismatch saying what made the run.

    Its models are restored and asked, or fitted again, so the code that they were fitted with is needed:
    other code may give other features or scores, and what it then says would not be of this run.
    """
    try:
        return search.decide(fold)
    except StudyMismatch as error:
        commit = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["code"]["git_commit"]
        raise StudyMismatch(
            f"{folder}: made by other code or settings than these, at commit {commit}, and its models speak "
            f"for themselves only under those: check that commit out, or search again ({error})"
        ) from error


def _read(folder: Path) -> dict[str, Any]:
    path = folder / "certificate.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {**content, "files": dict(content["files"])}
    except OSError as error:
        raise BundleError(
            f"{path}: cannot be read ({error.strerror}) — is {folder} a finished run?"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path}: altered or not a certificate") from error
