"""Trackers: those that the configuration names, beside a search that goes on, or for a finished one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ehrbench.app.composed.blocks import Mlflow, Settings, Trackers
from ehrbench.app.composed.checking import place_mlflow
from ehrbench.app.composed.console import command
from ehrbench.app.runs.finished import opened
from ehrbench.app.runs.outputs import described
from ehrbench.app.search.opening import PROOF
from ehrbench.app.wired.wiring import Wired
from ehrbench.core.digest import digest
from ehrbench.core.errors import ConfigError, EhrbenchError, StorageError
from ehrbench.core.ledger import Ledger
from ehrbench.core.run_folder import RunFolder
from ehrbench.infra.ledger_reader import LedgerReader
from ehrbench.infra.mlflow_tracker import MlflowTracker
from ehrbench.infra.tracked_search import TrackedSearch, Tracker, finished_search
from ehrbench.infra.tracking import Tracking, first_line, tracker_lock
from ehrbench.infra.wandb_tracker import WandbTracker

#: What a search that is interrupted, or a worker that is done, waits for each tracker.
_BRIEFLY_S = 5.0


def make_trackers(settings: Settings) -> list[Tracker]:
    """Those of the settings; nothing is imported or connected yet."""
    trackers: list[Tracker] = []
    if (mlflow := settings.tracker.mlflow) is not None:
        assert mlflow.uri is not None  # check has filled it in
        trackers.append(MlflowTracker(mlflow.uri, mlflow.experiment))
    if (wandb := settings.tracker.wandb) is not None:
        trackers.append(WandbTracker(Path(wandb.folder), wandb.project))
    return trackers


@contextmanager
def tracked(wired: Wired) -> Iterator[list[Tracking]]:
    """The settings' trackers, kept up to date while the search goes on, by whichever worker comes to it."""
    search, trackings = wired.search, []
    if trackers := make_trackers(wired.settings):
        ledger = search.backend.ledger
        assert isinstance(ledger, LedgerReader)
        shown = TrackedSearch(ledger, identity(ledger, search.study_name), described(wired))
        trackings = [Tracking(tracker, shown) for tracker in trackers]
    try:
        yield trackings
    finally:
        for tracking in trackings:
            tracking.close(timeout_s=_BRIEFLY_S)


def finish(trackings: list[Tracking], run: RunFolder) -> None:
    """Give the trackers what the search has found; a line for each that does not take it all in time."""
    while trackings:
        tracking = trackings.pop()
        if not tracking.close(run):
            again = command("ehrbench", "study", "sync", run.path)
            print(f"{tracking.tracker.name} has not taken the whole search; once it answers: {again}")


def sync_run(run: RunFolder, mlflow_uri: str | None = None) -> list[str]:
    """Bring a finished run's trackers up to date, or this MLflow; their names.

    Raises StorageError for one that does not answer, ConfigError where there is none.
    """
    settings, ledger = opened(run)
    if mlflow_uri is not None:
        experiment = settings.tracker.mlflow or Mlflow(experiment=f"ehrbench-{settings.task.name}")
        settings.tracker = Trackers(mlflow=experiment.model_copy(update={"uri": mlflow_uri}))
        place_mlflow(settings, "--mlflow")
    trackers = make_trackers(settings)
    if not trackers:
        raise ConfigError("tracker", f"{run.name} was searched without any", "name one: --mlflow URI")
    search = finished_search(ledger, identity(ledger, run.name), run)
    for tracker in trackers:
        try:
            with tracker_lock(search, tracker, _BRIEFLY_S) as held:
                if not held:
                    raise StorageError(f"{tracker.name}: a worker of {run.name} writes — wait for its end")
                tracker.catch_up(search)
        except EhrbenchError:
            raise
        except Exception as error:  # whatever a tracker raises
            raise StorageError(
                f"{tracker.name}: does not answer ({first_line(error)}) — try again once it does"
            ) from error
    return [tracker.name for tracker in trackers]


def identity(ledger: Ledger, study_name: str) -> str:
    """What tells a search from its namesake in another ledger: the proof that its first worker left there."""
    return digest(study_name, ledger.result(study_name, PROOF) or b"")[:16]
