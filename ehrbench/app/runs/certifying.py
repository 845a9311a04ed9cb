"""Certifying: writes a finished search's certificate, and checks it again from the ledger alone.

On demand it also does again what was done: predicts the outer tests from exported models (``rejudging``), and
runs outer folds (``rerun``), both in processes of their own.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from ehrbench.app.runs.finished import decided_by_run, ledger_of, wire_run
from ehrbench.app.runs.outputs import write_search_bundle
from ehrbench.app.runs.rejudging import judge_again, some_of
from ehrbench.app.runs.rereading import read_exchanged
from ehrbench.app.runs.rerun import run_again
from ehrbench.app.runs.sealing import check_entered, check_seal, check_spent
from ehrbench.app.runs.tables import read_judged
from ehrbench.app.wired.gpus import visible_gpus
from ehrbench.app.wired.provenance import versions
from ehrbench.app.wired.wiring import Wired
from ehrbench.core.bundle import file_digest
from ehrbench.core.digest import digest
from ehrbench.core.errors import BundleError, ConfigError
from ehrbench.core.progress import Progress
from ehrbench.core.run_folder import CERTIFICATE, CERTIFIED, PREDICTIONS, SUMMARY, RunFolder
from ehrbench.core.types import FloatArray
from ehrbench.spine.certificate import NotClean, certify
from ehrbench.spine.counterfactual import Excuse, counterfactual
from ehrbench.spine.folds import OuterFold
from ehrbench.spine.procedure import Decided
from ehrbench.spine.search import Search


@dataclass(frozen=True)
class Again:
    """What ``certify`` does again. folds: the outer folds; None: all."""

    predictions: bool = False
    counterfactual: bool = False
    folds: Sequence[int] | None = None


def certificate(run: RunFolder, search: Search) -> dict[str, Any]:
    """The certificate of a search whose outputs stand in its folder."""
    files = {name: file_digest(run / name) for name in CERTIFIED}
    return {**certify(search), "judged": _judged(run, search), "files": files}


def _judged(run: RunFolder, search: Search) -> dict[str, dict[str, str]]:
    """Outer fold -> model -> digest of the probabilities that it was judged by."""
    by_fold = read_judged(run / PREDICTIONS, search.target.n_classes)
    return {fold: {name: digest(p) for name, p in by_model.items()} for fold, by_model in by_fold.items()}


def certify_run(folder: Path, again: Again, progress: Progress) -> None:
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
    if written.get("data_digest") != wired.search.dataset.digest:
        raise NotClean(
            f"{run.name}: the data are not those that were searched: an outcome, a content, a group or an id "
            "is another — put their files back, or search again"
        )
    found = certify(wired.search)
    if "judged" in written:  # earlier versions said of them what they say of a file
        found["judged"] = _judged(run, wired.search)
    for key, value in found.items():
        if written.get(key) != value:
            raise NotClean(f"{run / CERTIFICATE}: {key} is not what data and ledger say")
    print(f"{run.name}: certificate holds for {len(found['folds'])} folds, {n_files} files are as written")
    if not sealed:
        print("  checksums.json is not in the ledger, as of runs of earlier versions: its own word is taken")
    for fold in found["folds"]:
        purposes = ", ".join(f"{name} {p['records']:,}" for name, p in fold["purposes"].items())
        print(
            f"  fold {fold['name']:>3}: {fold['test']['records']:,} test records; handed out for {purposes}"
        )
    if again.predictions or again.counterfactual:
        _do_again(run, wired, again, progress)


def _do_again(run: RunFolder, wired: Wired, again: Again, progress: Progress) -> None:
    search, folds = wired.search, again.folds
    chosen = [fold for fold in search.split.outer if folds is None or fold.index in folds]
    if not chosen:
        raise ConfigError("--folds", f"{list(folds or ())}: no such outer folds")
    judged = read_judged(run / PREDICTIONS, search.target.n_classes)
    for fold in chosen:
        decided = decided_by_run(run, search, fold)
        if again.counterfactual:  # first: it names what comes before a prediction
            _read_again(wired, fold, progress)
            _fold_again(run, wired, decided)
        _predict_again(run, wired, decided, judged[fold.name], progress)
    if search.split.final not in search.split.outer:
        _ask_bundle_again(run, wired)


def _read_again(wired: Wired, fold: OuterFold, progress: Progress) -> None:
    n_read = read_exchanged(wired, fold, progress)
    said = f"the contents of {n_read:,} records are as they were" if n_read else "not tested for this source"
    print(f"  fold {fold.name:>3}: read with outcomes exchanged and test records replaced: {said}")


def _predict_again(
    run: RunFolder, wired: Wired, decided: Decided, judged: Mapping[str, FloatArray], progress: Progress
) -> None:
    """Outer-test probabilities as predictions.csv has them, from what the fold exports."""
    search, fold = wired.search, decided.fold
    records = search.dataset.open(fold, "test", fold.test)
    with tempfile.TemporaryDirectory(prefix="ehrbench-") as scratch:
        bundle = run.bundle
        if fold is not search.split.final:
            bundle = Path(scratch) / "bundle"
            write_search_bundle(bundle, wired, decided, {}, progress)
        found = judge_again(bundle, records, judged, search.seed, f"outer fold {fold.name}")
    line = f"  fold {fold.name:>3}: {found.records:,} test records predicted again from exported models"
    print(f"{line}, {found.alone} of them alone, all in another order: {found.difference:.1g} off")


def _ask_bundle_again(run: RunFolder, wired: Wired) -> None:
    """The shipped bundle says of some of its own records what the models say that it was made of."""
    search, fold = wired.search, wired.search.split.final
    records = search.dataset.open(fold, "fit", some_of(fold.train, search.seed))
    fitted = decided_by_run(run, search, fold).fitted(search.target, search.refit)
    found = judge_again(run.bundle, records, fitted.predict(records.without_labels()), search.seed, "bundle")
    print(f"  bundle  : {found.records:,} of its own records predicted again: {found.difference:.1g} off")


def _fold_again(run: RunFolder, wired: Wired, decided: Decided) -> None:
    search, fold = wired.search, decided.fold
    excuse, shares = _excuse(run, wired, decided), _shares(decided)
    again = partial(run_again, wired.settings, search.study_name, fold.name, shares)
    found = counterfactual(search, fold, decided, again, excuse)
    compared, (some, every) = f"{found['compared']} fitted states and choices", found["trials"]
    line = f"  fold {fold.name:>3}: {compared} unchanged by other test records, in a process of its own"
    if excuse is not None:
        how = "between two runs again" if found["repeated"] else "with the recorded ones"
        tried = f"{some} of {every} trials, retrained as recorded and compared {how}"
        line += f"\n            ({tried}: {excuse.why})"
    print(line)


def _shares(decided: Decided) -> list[list[str]]:
    """The fold's models, parted among as many processes as it had workers, by the time that they took."""
    rows = {c.name: c.study.setting.ledger.tickets(c.study.key) for c in decided.chosen}
    took = {name: sum(fit.duration_s for row in of for fit in row.fits) for name, of in rows.items()}
    workers = {row.worker for of in rows.values() for row in of}
    shares: list[list[str]] = [[] for _ in range(min(len(workers), os.cpu_count() or 1))]
    for name in sorted(took, key=lambda name: -took[name]):
        min(shares, key=lambda share: sum(took[one] for one in share)).append(name)
    return shares


def _excuse(run: RunFolder, wired: Wired, decided: Decided) -> Excuse | None:
    """Why the recorded fold need not repeat itself to the last bit here; None where it must."""
    code = json.loads((run / SUMMARY).read_text(encoding="utf-8"))["code"]
    rows = [row for c in decided.chosen for row in wired.search.backend.ledger.tickets(c.study.key)]
    hosts = {(row.worker or "").rpartition(":")[0] for row in rows}
    if hosts != {socket.gethostname()}:
        return Excuse(f"it ran on another machine, {min(hosts)}", same_bits=False)
    if code["versions"] != versions():
        return Excuse("it ran with other versions of packages", same_bits=False)
    if visible_gpus(wired.settings.trainer.accelerator):
        return Excuse("it ran on a GPU", same_bits=False)
    if wired.settings.search.latency_ms is not None:
        return Excuse("its trials were timed, and times do not repeat", same_bits=True)
    if any(row.state == "failed" and row.attempt > 1 for row in rows):
        return Excuse("one of its trials was given up after several tries", same_bits=True)
    for chosen in decided.chosen:
        spans = sorted(
            (row.started or 0.0, row.finished or 0.0) for row in rows if row.study == chosen.study.key
        )
        if any(later[0] < earlier[1] for earlier, later in pairwise(spans)):
            why = f"several workers ran study {chosen.study.key} at a time, and its sampler saw their order"
            return Excuse(why, same_bits=True)
    return None


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
