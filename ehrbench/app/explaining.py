"""Explaining: ``explanations.json`` of a run, when its search ends or when asked again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ehrbench.app.certifying import decided_by_run, wire_run
from ehrbench.app.files import write_json
from ehrbench.app.sealing import EXPLANATIONS, seal
from ehrbench.app.wiring import Wired
from ehrbench.core.bundle import file_digest
from ehrbench.core.errors import BundleError, ConfigError, EhrbenchError
from ehrbench.core.progress import Progress
from ehrbench.explain import FILE, SCHEMA, explain
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
    if not (folder / "predictions.csv").is_file():
        raise BundleError(f"{folder / 'predictions.csv'}: missing — is {folder} a finished run?")
    wired = wire_run(folder, progress)
    n_records = wired.settings.report.explained if n_records is None else n_records
    if n_records < 1:
        raise ConfigError("--records", f"{n_records} leaves nothing to explain", "give 1 or more")
    decided = [decided_by_run(folder, wired.search, fold) for fold in wired.search.split.outer]
    path = write_explanations(folder, wired, decided, n_records, progress)
    seal(folder, wired.search.backend.ledger, EXPLANATIONS)
    for trace in failures(folder):
        if trace.stem == "explanations":
            raise NotExplained(f"{path}: only says why there are none — report the fault in {trace}")
    return path


def write_explanations(
    folder: Path, wired: Wired, decided: Sequence[Decided], n_records: int, progress: Progress
) -> Path:
    """Write the explanations of the outer folds' finished procedures, or why there are none."""
    search = wired.search
    content = Attempts(folder).part(
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
    write_json(folder / FILE, content | {"predictions": file_digest(folder / "predictions.csv")})
    return folder / FILE
