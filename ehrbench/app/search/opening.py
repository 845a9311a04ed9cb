"""Opening a search: whatever would refuse it later refuses it here, in one line, before anything is changed.

The server is asked before data are read, which takes longer; the studies are compared before the first row
is written.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from ehrbench.app.composed.blocks import Settings
from ehrbench.app.wired.wiring import Wired, wire
from ehrbench.core.errors import ConfigError, EhrbenchError, StorageError, StudyMismatch
from ehrbench.core.ledger import StudyKey
from ehrbench.core.progress import Progress
from ehrbench.core.run_folder import RunFolder
from ehrbench.infra.database import Database
from ehrbench.infra.settings import Environment
from ehrbench.spine.search import Search

#: Name of the result that proves a shared store of artifacts.
PROOF = "artifacts/proof"


def open_search(settings: Settings, study_name: str, progress: Progress) -> Wired:
    """``wire``, for a search that is going to write.

    Raises StorageError, ConfigError or StudyMismatch for a search that could not go on, and StorageError for
    an account that may only read.
    """
    if settings.tracker.wandb is not None and find_spec("wandb") is None:
        raise ConfigError("tracker", "wandb needs a package of that name", "pip install 'ehrbench[wandb]'")
    if settings.storage.kind == "mysql":
        Database.mysql(Environment.read()).check()
    wired = wire(settings, study_name, progress)
    Database.of(settings.storage.kind, Path(settings.storage.path), Environment.read()).check_writable()
    check_studies(wired.search)
    check_artifacts(wired.search, settings)
    return wired


def check_studies(search: Search) -> None:
    """Raise for studies of this name that are not this search's.

    StudyMismatch: of another task, or of other data, folds, space, metric or settings. ConfigError: with
    more trials than this search asks for.
    """
    ledger = search.backend.ledger
    known = ledger.studies(search.study_name)
    if others := {key.task for key in known} - {search.task}:
        raise StudyMismatch(
            f"study_name: {search.study_name} is a search of task {min(others)}, not {search.task} — take "
            f"another study_name"
        )
    for fold in search.split.all_folds:
        for model, contender in search.contenders.items():
            key = StudyKey(search.study_name, search.task, model, fold.index)
            if key not in known:
                continue
            search.study(model, fold)  # compares it with what the ledger holds
            n_tickets = len(ledger.tickets(key))
            if n_tickets > contender.n_trials:
                raise ConfigError(
                    "n_trials",
                    f"{contender.n_trials} is fewer than the {n_tickets} trials that study {key} already has",
                    f"ask for at least {n_tickets}, or take another study_name",
                )


def check_artifacts(search: Search, settings: Settings) -> None:
    """Prove that this worker reads what another one of the search wrote, in both stores.

    The first to come leaves a folder, and a result that names it. Raises StorageError where either is not
    found: with a place of its own each worker would train, and none could judge.
    """
    ledger = search.backend.ledger
    with TemporaryDirectory(prefix="ehrbench-") as scratch:
        if not ledger.result_names(search.study_name, PROOF):
            (Path(scratch) / "proof").write_text(uuid.uuid4().hex, encoding="utf-8")
            left = ledger.artifacts.put_folder(Path(scratch))
            ledger.put_result(search.study_name, PROOF, left.encode())  # the first one stays
        try:
            found = ledger.result(search.study_name, PROOF)
            ledger.artifacts.get_folder((found or b"").decode(), Path(scratch) / "read")
        except StorageError as error:
            reason = str(error).partition(" — ")[0]
            places = " and ".join(filter(None, (settings.storage.artifacts, settings.storage.checkpoints)))
            raise StorageError(
                f"storage.artifacts: {places}: not where the other workers of {search.study_name} write "
                f"({reason}) — give all of them one ARTIFACTS_URL, and CHECKPOINTS_DIR, that each can reach"
            ) from error


@contextmanager
def made_folder(runs_dir: str, name: str) -> Iterator[RunFolder]:
    """The run's folder, made and tried. After a refusal, what is empty and was made for it is removed.

    Raises StorageError where it cannot be written.
    """
    folder = Path(runs_dir) / name
    made: list[Path] = []
    try:
        made = [place for place in (folder, *folder.parents) if not place.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StorageError(
            f"runs_dir: {folder} cannot be written ({error.strerror}) — name another with runs_dir=FOLDER"
        ) from error
    try:
        yield RunFolder(folder.resolve(), name)
    except EhrbenchError:
        with suppress(OSError):  # one of them is in use
            for place in made:
                place.rmdir()
        raise
