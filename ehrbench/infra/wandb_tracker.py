"""WandbTracker: a search's runs as Weights & Biases keeps them offline, for ``wandb sync`` to send.

One folder a run, ``<folder>/wandb/offline-run-<time>-<id>``, written when its trial is spent or the search is
is finished. Nothing leaves the machine before somebody sends it, with an account of theirs. A run's id comes
from search and key, so that sending it again changes one run and makes no other. What was written stands in a
list beside the folders; a folder that is not in it is of a process that died, and is written anew.
"""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from ehrbench.core.digest import digest
from ehrbench.infra.tracked_search import TrackedRun, TrackedSearch


class WandbTracker:
    """``tracked_search.Tracker`` over files; W&B is imported in the tracker's thread alone.

    folder: where ``wandb/`` is; project: as W&B shall call it.
    """

    name = "wandb"

    def __init__(self, folder: Path, project: str) -> None:
        self._folder, self._project = folder, project
        self._shown: dict[str, str] | None = None  # a run's key -> digest of what it shows

    def forget(self) -> None:
        self._shown = None

    def catch_up(self, search: TrackedSearch) -> None:
        listed = self._folder / "wandb" / f"ehrbench-{search.identity}.txt"
        if self._shown is None:
            self._shown = _read(listed)
        for run in search.trials(self._shown):
            self._bring(search, run, listed)
        if search.folder is not None:
            self._bring(search, search.whole(), listed)

    def _bring(self, search: TrackedSearch, run: TrackedRun, listed: Path) -> None:
        assert self._shown is not None
        if self._shown.get(run.key) == run.digest:
            return
        listed.parent.mkdir(parents=True, exist_ok=True)
        name = digest(search.identity, run.key)[:16]
        for old in listed.parent.glob(f"offline-run-*-{name}"):
            shutil.rmtree(old)
        self._write(search, run, name)
        _await(listed.parent, name)
        with listed.open("a", encoding="utf-8") as file:
            file.write(f"{run.digest} {run.key}\n")
        self._shown[run.key] = run.digest

    def _write(self, search: TrackedSearch, run: TrackedRun, name: str) -> None:
        import wandb

        config: dict[str, Any] = {**run.tags, **run.params}
        config |= {"started": _time(run.started), "ended": _time(run.ended)}
        if run.parent is None:
            data, of_data, sizes = search.data
            config |= {"data": data, "data_digest": of_data, **sizes}
        shown = wandb.init(
            project=self._project,
            id=name,
            name=run.name,
            group=search.name,
            job_type="search" if run.parent is None else "trial",
            config=config,
            tags=["chosen"] if "chosen" in run.tags else [],
            dir=str(self._folder),
            mode="offline",
            reinit="create_new",  # whatever the process itself shows there goes on
            settings=wandb.Settings(**_QUIET),
        )
        courses = {point.name for point in run.points if point.step > 0}
        course = sorted((p for p in run.points if p.name in courses), key=lambda point: point.step)
        for step, points in groupby(course, key=lambda point: point.step):
            shown.log({point.name: point.value for point in points}, step=step)
        shown.summary.update({p.name: p.value for p in run.points if p.name not in courses})
        if run.folder is not None:
            bundle = wandb.Artifact(f"{name}-bundle", "model")
            bundle.add_dir(str(run.folder.bundle), policy="immutable")  # as it lies there, not a copy
            shown.log_artifact(bundle)
        shown.finish(exit_code=int(run.failed))


#: Nothing of the machine, its code or its terminal.
_QUIET: dict[str, Any] = {
    **{"silent": True, "console": "off", "disable_git": True, "save_code": False},
    **{"x_disable_stats": True, "x_disable_machine_info": True},
}
#: A run's file has these bytes before anything of the run.
_EMPTY = 7
_PATIENCE_S = 30.0


def _await(folder: Path, name: str) -> None:
    """Until the run's file is written, by a process of W&B's own a moment after the run's end."""
    deadline = time.monotonic() + _PATIENCE_S
    while all(
        path.stat().st_size <= _EMPTY for path in folder.glob(f"offline-run-*-{name}/run-{name}.wandb")
    ):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{folder}: W&B has not written run {name} within {_PATIENCE_S:g} s")
        time.sleep(0.05)


def _read(listed: Path) -> dict[str, str]:
    """Run's key -> digest; a line that a dying process broke off is no run's."""
    if not listed.exists():
        return {}
    lines = listed.read_text(encoding="utf-8").splitlines()
    return {key: shown for shown, _, key in (line.partition(" ") for line in lines)}


def _time(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
