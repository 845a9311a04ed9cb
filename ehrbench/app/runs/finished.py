"""Finished runs, opened once at the door: where a run is, what it was, and the ledger that knows it.

A run knows its own place. Its ``config.yaml`` names places as they were when it was searched; those under
its ``runs_dir`` are looked for beside the folder as it lies now, so that a run may be moved or copied and
read from anywhere. Nothing is made: a ledger that is not there is told, and another one is not taken for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any

from ehrbench.app.composed.blocks import Settings
from ehrbench.app.composed.checking import check, read_written
from ehrbench.app.wired.backend import open_ledger
from ehrbench.app.wired.provenance import git_commit
from ehrbench.app.wired.wiring import Wired, wire
from ehrbench.core.errors import EhrbenchError, StorageError, StudyMismatch
from ehrbench.core.ledger import Ledger
from ehrbench.core.places import place
from ehrbench.core.progress import Progress
from ehrbench.core.run_folder import CODE, CONFIG, SUMMARY, RunFolder
from ehrbench.infra.ledger import SqlLedger
from ehrbench.infra.settings import Environment
from ehrbench.spine.folds import OuterFold
from ehrbench.spine.procedure import Decided
from ehrbench.spine.search import Search


def wire_run(run: RunFolder, progress: Progress) -> Wired:
    """A finished run's search, wired again from its own configuration.

    Raises StorageError where its ledger is not at hand, before data are read.
    """
    settings, _ = opened(run)
    return wire(settings, run.name, progress)


def ledger_of(run: RunFolder) -> Ledger | None:
    """The ledger that a run stands in, None where it is not at hand."""
    try:
        return opened(run)[1]
    except EhrbenchError:
        return None


def opened(run: RunFolder) -> tuple[Settings, SqlLedger]:
    """A run's settings, and its ledger. Raises StorageError where that is not at hand."""
    settings = settings_of(run)
    return settings, _open(run, settings)


def settings_of(run: RunFolder) -> Settings:
    """A run's configuration, with its places as they are now."""
    config = read_written(run / CONFIG)
    if "kind" in config.get("tracker", {}):  # of earlier versions
        config["tracker"] = {}
    settings = check(config, _as_now(run, config))
    data = Environment.read().ehrbench_data
    if data and not Path(settings.data.root).exists():  # on another machine they lie where that one says
        settings.data.root = str(place(data, "EHRBENCH_DATA"))
    return settings


def decided_by_run(run: RunFolder, search: Search, fold: OuterFold) -> Decided:
    """What a finished run decided for an outer fold; StudyMismatch saying what made the run.

    Its models are restored and asked, or fitted again, so the code that they were fitted with is needed:
    other code may give other features or scores, and what it then says would not be of this run.
    """
    try:
        return search.decide(fold)
    except StudyMismatch as error:
        code = json.loads((run / SUMMARY).read_text(encoding="utf-8"))["code"]
        commit = code["git_commit"]
        remedy = "check that commit out" if commit != git_commit() else "undo what has changed since"
        if added := code.get("uncommitted"):
            remedy += f" and put back what no commit has ({', '.join(added)}: {run / CODE})"
        raise StudyMismatch(
            f"{run.path}: made by other code or settings than these, at commit {commit}, and its models "
            f"speak for themselves only under those: {remedy}, or search again ({error})"
        ) from error


def _open(run: RunFolder, settings: Settings) -> SqlLedger:
    """The ledger of the settings, which must know the run."""
    storage = settings.storage
    where = storage.path if storage.kind == "sqlite" else "the database of OPTUNA_*"
    if storage.kind == "sqlite" and not Path(storage.path).is_file():
        raise StorageError(f"{where}: missing — put the ledger of {run.path} back, beside its folder")
    ledger = open_ledger(settings)[1]
    if not ledger.studies(run.name):
        raise StorageError(f"{where}: knows no search {run.name} — put the ledger of {run.path} in its place")
    return ledger


def _as_now(run: RunFolder, config: Mapping[str, Any]) -> Callable[[Path], Path]:
    """Where a place of the run's configuration lies now: the first of these that is there, or the first.

    Under ``runs_dir``, beside the folder; else where it was, or, of earlier versions that recorded it as seen
    from where the search ran, seen from there.
    """
    before, now = PurePath(str(config.get("runs_dir"))), run.path.parent
    ran_in = _ran_in(before, now)

    def placed(path: Path) -> Path:
        moved = [now / path.relative_to(before)] if path.is_relative_to(before) else []
        found = [*moved, *([path] if path.is_absolute() else [ran_in / path, path.absolute()])]
        return next((p for p in found if p.exists()), found[0])

    return placed


def _ran_in(runs_dir: PurePath, now: Path) -> Path:
    """The folder that a relative ``runs_dir``, which lies at ``now``, was named in."""
    for part in reversed(() if runs_dir.is_absolute() else runs_dir.parts):
        if now.name != part:
            return Path.cwd()
        now = now.parent
    return now
