"""A small search for trackers to show: trials in a real ledger, and the folder that it leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ehrbench.core.ledger import Fit, StudyKey
from ehrbench.core.run_folder import RunFolder
from ehrbench.infra.artifacts import FileArtifacts
from ehrbench.infra.database import Database
from ehrbench.infra.ledger import SqlLedger
from ehrbench.infra.tracked_search import TrackedSearch

NAME, N_TRIALS, N_FOLDS, N_EPOCHS = "it's s", 4, 2, 3
KEYS = [StudyKey(NAME, "beats", "mlp", fold) for fold in (0, None)]
CHOSEN = 2
ABOUT: dict[str, Any] = {
    "study_name": NAME,
    "task": "beats",
    "protocol": "nested 2 × 2",
    "cohort": "simulated",
    "metric": "auroc",
    "seed": 0,
    "data": {"digest": "d" * 64, "sets": ["a", "b"], "n_records": 8, "n_units": 16},
    "budget": {"mlp": N_TRIALS},
    "code": {"git_commit": "c" * 40},
}


def open_search(folder: Path, identity: str = "identity") -> TrackedSearch:
    """The search in the ledger of a folder, for this process."""
    database = Database.sqlite(folder / "ehrbench.db")
    ledger = SqlLedger(database.engine, FileArtifacts(folder / "artifacts"))
    for key in KEYS:
        ledger.open_study(key, "e" * 64, {"metric": "auroc", "folds": "f" * 64})
    return TrackedSearch(ledger, identity, ABOUT)


def spend(search: TrackedSearch, n: int = N_TRIALS) -> None:
    """``n`` more trials of each study; of all, number 1 fails."""
    assert isinstance(search.ledger, SqlLedger)
    for key in KEYS * n:
        ticket = search.ledger.claim(key, N_TRIALS, "w")
        assert ticket is not None
        number = ticket.number
        ticket = search.ledger.start(ticket, {"lr": 0.1 * number, "norm": "layer"}, number)
        if number == 1:
            search.ledger.fail(ticket, "NaN loss", retry=False)
            continue
        for fold in range(N_FOLDS):
            curve = tuple((epoch, {"valid_loss": 1 / (1 + epoch)}) for epoch in range(N_EPOCHS))
            score, text = 0.5 + number / 10 + fold / 100, "0" * 64
            search.ledger.record_fit(ticket, Fit(fold, 1, score, 2, 0.0, text, text, text, curve))
        search.ledger.finish(ticket, "complete", 0.5 + number / 10)


def leave(folder: Path, auroc: float = 0.75, ticket: int = CHOSEN) -> RunFolder:
    """What a search leaves that has judged the trials."""
    chosen = {"chosen": {"models": {"mlp": {"ticket": ticket}}}}
    figures = {
        "mlp": {"auroc": {"mean": 0.7}},
        "ensemble": {"auroc": {"mean": auroc}, "ppv": {"undefined": ""}},
    }
    found = {"created": "2026-11-28T08:00:00+00:00", "models": figures}
    found["folds"] = [{"name": name, **chosen} for name in ("0", "all")]
    run = RunFolder(folder / "s", NAME)
    for path, text in {
        "summary.json": json.dumps(ABOUT | found),
        "checksums.json": f'"{auroc}"',
        "figures/curves.svg": "<svg/>",
        "bundle/checksums.json": "{}",
        "bundle/manifest.json": "{}",
    }.items():
        (run / path).parent.mkdir(parents=True, exist_ok=True)
        (run / path).write_text(text, encoding="utf-8")
    return run
