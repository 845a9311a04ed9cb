"""Explaining: ``explanations.json`` of a run, when its search ends or when asked again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ehrbench.app.runs.finished import decided_by_run, wire_run
from ehrbench.app.runs.sealing import seal
from ehrbench.app.wired.wiring import Wired
from ehrbench.core.bundle import file_digest
from ehrbench.core.errors import BundleError, ConfigError, EhrbenchError
from ehrbench.core.files import write_json
from ehrbench.core.progress import Progress
from ehrbench.core.run_folder import EXPLAINED, EXPLANATIONS, PREDICTIONS, RunFolder
from ehrbench.explain import SCHEMA, explain
from ehrbench.report import Attempts, failures
from ehrbench.spine.procedure import Decided


class NotExplained(EhrbenchError):
    """Explanations that could not be made."""

    exit_code = 1


def explain_run(folder: Path, n_records: int | None, progress: Progress) -> Path:
    """Explain a finished run from its data and ledger; the file's path.

    n_records: outer-test records attributed; None: as the run's configuration says. Raises NotExplained
    where the file only says why there are none.
    """
    run = RunFolder.open(folder)
    if not (run / PREDICTIONS).is_file():
        raise BundleError(f"{run / PREDICTIONS}: missing — is {run.path} a finished run?")
    wired = wire_run(run, progress)
    n_records = wired.settings.report.explained if n_records is None else n_records
    if n_records < 1:
        raise ConfigError("--records", f"{n_records} leaves nothing to explain", "give 1 or more")
    decided = [decided_by_run(run, wired.search, fold) for fold in wired.search.split.outer]
    path = write_explanations(run, wired, decided, n_records, progress)
    seal(run, wired.search.backend.ledger, EXPLAINED)
    for trace in failures(run.path):
        if trace.stem == "explanations":
            raise NotExplained(f"{path}: only says why there are none — report the fault in {trace}")
    return path


def write_explanations(
    run: RunFolder, wired: Wired, decided: Sequence[Decided], n_records: int, progress: Progress
) -> Path:
    """Write the explanations of the outer folds' finished procedures, or why there are none."""
    search = wired.search
    content = Attempts(run.path).part(
        "explanations",
        lambda: explain(
            decided,
            search.metric,
            search.target,
            search.refit,
            n_records=n_records,
            seed=search.seed,
            progress=progress,
        ),
        lambda why: {"schema": SCHEMA, "why": why},
    )
    write_json(run / EXPLANATIONS, content | {"predictions": file_digest(run / PREDICTIONS)})
    return run / EXPLANATIONS
