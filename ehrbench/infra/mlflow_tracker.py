"""MlflowTracker: a search's runs in MLflow, written once however often they are copied.

A run is known by its tags: whose search, which run (``ehrbench.key``), and the digest of what it shows, which
is written last. A run with that digest is left alone; one without it was begun by a process that died, or
shows something older: what it holds is read back, and what is missing is written. Parameters, tags, states
and files are the same when written again. MLflow is imported in the tracker's thread alone.
"""

from __future__ import annotations

import json
import logging
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from ehrbench.core.bundle import file_digest
from ehrbench.core.files import CHECKSUMS
from ehrbench.core.run_folder import TRACKED, RunFolder
from ehrbench.infra.mlflow_store import connected, experiment_of, sqlite_path
from ehrbench.infra.tracked_search import Point, TrackedRun, TrackedSearch

logger = logging.getLogger(__name__)

SEARCH_TAG, KEY_TAG, SHOWN_TAG = "ehrbench.search", "ehrbench.key", "ehrbench.shown"
PARENT_TAG, CHOSEN_TAG = "mlflow.parentRunId", "chosen"
_PERMANENT = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "MALFORMED_REQUEST", "ENDPOINT_NOT_FOUND"}
_LONGEST_PARAM = 6000
_LONGEST_DIGEST = 36  # of a dataset
_MOST_METRICS, _MOST_PARAMS = 1000, 100  # of one log_batch

T = TypeVar("T")


class MlflowTracker:
    """``tracked_search.Tracker`` over MLflow; nothing is imported or connected before it is to catch up.

    uri: ``http(s)://…`` or ``sqlite:///…``; experiment: made if it is not there.
    """

    name = "MLflow"

    def __init__(self, uri: str, experiment: str) -> None:
        self._uri, self._experiment = uri, experiment
        self._store = sqlite_path(uri)
        self._client: Any = None
        self.forget()

    def forget(self) -> None:
        self._experiment_id = ""
        self._ids: dict[str, str] = {}  # of a run's key
        self._shown: dict[str, str] = {}  # a run's key -> digest of what it shows

    def catch_up(self, search: TrackedSearch) -> None:
        if self._client is None:
            self._client = self._connect()
        if not self._experiment_id:
            self._experiment_id = experiment_of(self._client, self._experiment, self._store)
            self._look(search)
        whole = search.whole()
        if whole.key not in self._ids:
            self._create(search, whole)
        for trial in search.trials(self._shown):
            self._bring(search, trial)
        self._bring(search, whole)

    def _connect(self) -> Any:
        return connected(self._uri)

    # --- runs --------------------------------------------------------------------------------------------

    def _look(self, search: TrackedSearch) -> None:
        """Find the search's runs. Where two processes made one at once, the older stays."""

        def order(run: Any) -> Any:
            return run.data.tags[KEY_TAG] != search.name, run.info.start_time, run.info.run_id

        for run in sorted(self._found(search), key=order):
            key = run.data.tags[KEY_TAG]
            if key in self._ids:
                self._client.delete_run(run.info.run_id)
                continue
            self._ids[key] = run.info.run_id
            lies = run.data.tags.get(PARENT_TAG)
            above = self._ids.get(search.name) if key != search.name else lies  # a pipeline's, or none
            if SHOWN_TAG in run.data.tags and lies == above:
                self._shown[key] = run.data.tags[SHOWN_TAG]

    def _found(self, search: TrackedSearch) -> Iterator[Any]:
        wanted, token = f"tags.`{SEARCH_TAG}` = '{search.identity}'", None
        while token != "":
            page = self._client.search_runs([self._experiment_id], wanted, page_token=token)
            yield from page
            token = page.token or ""

    def _create(self, search: TrackedSearch, run: TrackedRun) -> str:
        tags = {SEARCH_TAG: search.identity, KEY_TAG: run.key, **self._above(run)}
        started = run.started or search.began() or time.time()
        made = self._client.create_run(self._experiment_id, round(started * 1000), tags, run.name)
        self._ids[run.key] = made.info.run_id
        return str(made.info.run_id)

    def _above(self, run: TrackedRun) -> dict[str, str]:
        return {} if run.parent is None else {PARENT_TAG: self._ids[run.parent]}

    def _bring(self, search: TrackedSearch, run: TrackedRun) -> None:
        """Make one run show what it shall, whatever part of it is there."""
        if self._shown.get(run.key) == run.digest:
            return
        run_id = self._ids.get(run.key)
        points = run.points
        if run_id is None:
            run_id = self._create(search, run)
        else:
            held = self._client.get_run(run_id).data
            points = self._missing(run_id, held.metrics, points)
            if (
                CHOSEN_TAG in held.tags and CHOSEN_TAG not in run.tags
            ):  # a longer search has found a better one
                self._client.delete_tag(run_id, CHOSEN_TAG)
        log = self._client.log_batch
        for some in _parts([_metric(point) for point in points], _MOST_METRICS):
            self._take(run, log, run_id, metrics=some)
        for some in _parts(_params(run), _MOST_PARAMS):
            self._take(run, log, run_id, params=some)
        if run.parent is None:
            self._take(run, self._client.log_inputs, run_id, [_dataset(search)])
        if run.folder is not None:
            self._take(run, self._log_files, run_id, run.folder)
        if run.ended is None:
            self._client.update_run(run_id, status="RUNNING")
        else:
            self._client.set_terminated(
                run_id, "FAILED" if run.failed else "FINISHED", round(run.ended * 1000)
            )
        tags = {**run.tags, **self._above(run), SHOWN_TAG: run.digest}
        self._take(run, log, run_id, tags=_tags(tags))
        self._shown[run.key] = run.digest

    def _missing(self, run_id: str, last: Mapping[str, float], points: Sequence[Point]) -> tuple[Point, ...]:
        """Those that a run does not hold yet. Only what has a course is asked for point by point."""
        several = {point.name for point in points if point.step > 0}
        held = {
            (name, metric.step)
            for name in sorted(several)
            if _name(name) in last
            for metric in self._client.get_metric_history(run_id, _name(name))
        }
        return tuple(
            point
            for point in points
            if (
                (point.name, point.step) not in held
                if point.name in several
                else not _same(last.get(_name(point.name)), point.value)
            )
        )

    def _log_files(self, run_id: str, folder: RunFolder) -> None:
        for name in TRACKED:
            path = folder / name
            if path.is_dir():
                self._client.log_artifacts(run_id, str(path), name)
            elif path.exists():
                self._client.log_artifact(run_id, str(path))
        self._log_model(run_id, folder)

    def _log_model(self, run_id: str, folder: RunFolder) -> None:
        """A run has one model, its bundle; another one takes its place."""
        tags = {SHOWN_TAG: file_digest(folder.bundle / CHECKSUMS)}
        for old in self._client.search_logged_models([self._experiment_id], f"source_run_id = '{run_id}'"):
            if old.tags.get(SHOWN_TAG) == tags[SHOWN_TAG] and str(old.status) == "READY":
                return
            self._client.delete_logged_model(old.model_id)
        create = self._client.create_logged_model
        name = re.sub(r"[/:.%\"']", "_", folder.name)  # which MLflow has in no model's name
        made = create(self._experiment_id, name, run_id, tags, model_type="ehrbench")
        self._client.log_model_artifacts(made.model_id, str(folder.bundle))
        self._client.finalize_logged_model(made.model_id, "READY")

    def _take(self, run: TrackedRun, call: Callable[..., object], *arguments: Any, **named: Any) -> None:
        """Call; what MLflow will never take is told, and blocks nothing."""
        try:
            call(*arguments, **named)
        except Exception as error:
            if getattr(error, "error_code", None) not in _PERMANENT:
                raise
            logger.warning("MLflow refuses a part of run %s: %s", run.key, str(error).splitlines()[0])


def _parts(rows: Sequence[T], size: int) -> list[Sequence[T]]:
    return [rows[at : at + size] for at in range(0, len(rows), size)]


def _name(name: str) -> str:
    """MLflow takes letters, digits, and ``_-. :/`` in names."""
    return re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)[:250]


def _same(held: float | None, value: float) -> bool:
    """Databases print doubles with fewer digits than they have."""
    both_nan = held is not None and math.isnan(held) and math.isnan(value)
    return held is not None and (both_nan or math.isclose(held, value, rel_tol=1e-12))


def _metric(point: Point) -> Any:
    from mlflow.entities import Metric

    return Metric(_name(point.name), point.value, round(point.at * 1000), point.step)


def _params(run: TrackedRun) -> list[Any]:
    from mlflow.entities import Param

    return [Param(_name(name), value[:_LONGEST_PARAM]) for name, value in run.params.items()]


def _tags(given: Mapping[str, str]) -> list[Any]:
    from mlflow.entities import RunTag

    tags = {name: value for name, value in given.items() if name != "git_commit"}
    if commit := given.get("git_commit"):
        source = {"name": "ehrbench search", "type": "LOCAL", "git.commit": commit}
        tags |= {f"mlflow.source.{name}": value for name, value in source.items()}
    return [RunTag(name, value) for name, value in tags.items()]


def _dataset(search: TrackedSearch) -> Any:
    from mlflow.entities import Dataset, DatasetInput

    name, digest, sizes = search.data
    source = json.dumps({"tags": {"ehrbench": "the files that the run's config.yaml names"}})
    return DatasetInput(
        Dataset(name, digest[:_LONGEST_DIGEST], "code", source, profile=json.dumps(sizes)), []
    )
