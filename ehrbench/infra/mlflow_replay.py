"""MlflowReplay: spooled events into MLflow, so that sending them twice leaves them there once.

A run is found again by its tag ``ehrbench.key`` before one is made. Metrics carry the step and time of the
call, not of the replay; after a crash or a failed request, what a run already holds is read back first and
left out. Parameters, tags, states and artifacts are the same when written again.

Two machines that open one run at the same moment both make it; each then looks again, the older run (then
the lower id) is kept by all, and the others are deleted before anything is written to them.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ehrbench.infra.mlflow_store import artifacts_of, connected, sqlite_path
from ehrbench.infra.spool import folder_lock

logger = logging.getLogger(__name__)

KEY_TAG = "ehrbench.key"
_SETTLE_S = 0.5
_PERMANENT = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "MALFORMED_REQUEST", "ENDPOINT_NOT_FOUND"}
_LONGEST_PARAM = 6000
_MOST_METRICS, _MOST_PARAMS = 1000, 100  # of one log_batch


@dataclass
class _Pending:
    """What one run gets in its next log_batch."""

    metrics: list[tuple[str, float, int, int]] = field(default_factory=list)  # name, value, at_ms, step
    params: dict[str, str] = field(default_factory=dict)


class MlflowReplay:
    """Used by one thread; nothing is imported or connected before the first ``send``."""

    def __init__(self, uri: str, experiment: str, folder: Path) -> None:
        self._uri, self._experiment, self._folder = uri, experiment, folder
        self._store = sqlite_path(uri)
        self._client: Any = None
        self._experiment_id = ""
        self._runs: dict[str, str] = {}
        self._doubtful = False

    def doubt(self) -> None:
        """The experiment and its runs may be gone: look them up anew."""
        self._runs.clear()
        self._experiment_id = ""

    def send(self, events: Sequence[Mapping[str, Any]], *, doubtful: bool = False) -> None:
        """Write the events, in order for each run. Raises whatever MLflow raises when it cannot take them.

        doubtful: some of them may have been taken before; look before writing.
        """
        self._doubtful = doubtful
        self._connect()
        pending: dict[str, _Pending] = {}
        for event in events:
            batch = pending.setdefault(event["key"], _Pending())
            if event["do"] == "metrics":
                rows = ((_name(n), v, event["at_ms"], event["step"]) for n, v in event["values"].items())
                batch.metrics.extend(rows)
            elif event["do"] == "params":
                batch.params |= {_name(n): v[:_LONGEST_PARAM] for n, v in event["params"].items()}
            else:
                self._log(event["key"], pending.pop(event["key"]))
                self._do(event)
        for key, batch in pending.items():
            self._log(key, batch)

    @staticmethod
    def forget_files(event: Mapping[str, Any]) -> None:
        """Remove the spool's copy of an artifact that has been taken."""
        if "kept" in event:
            shutil.rmtree(event["kept"], ignore_errors=True)

    # --- connection --------------------------------------------------------------------------------------

    def _connect(self) -> None:
        if self._client is None:
            with folder_lock(self._folder, "setup"):  # a fresh SQLite store is made by one process
                self._client = connected(self._uri)
        if not self._experiment_id:
            with folder_lock(self._folder, "setup"):
                self._experiment_id = self._open_experiment()

    def _open_experiment(self) -> str:
        found = self._client.get_experiment_by_name(self._experiment)
        if found is None:
            try:
                beside = artifacts_of(self._store) if self._store is not None else None
                return str(self._client.create_experiment(self._experiment, beside))
            except Exception:
                found = self._client.get_experiment_by_name(self._experiment)  # made elsewhere meanwhile?
                if found is None:
                    raise
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    # --- runs --------------------------------------------------------------------------------------------

    def _run_id(self, key: str, event: Mapping[str, Any] | None = None) -> str:
        if key not in self._runs:
            found = self._find(key)
            self._runs[key] = found[0] if found else self._create(key, event or {})
        return self._runs[key]

    def _find(self, key: str) -> list[str]:
        """Ids of the live runs of ``key``, the one to keep first."""
        runs = self._client.search_runs(
            [self._experiment_id], f"tags.`{KEY_TAG}` = '{_quoted(key)}'", max_results=50
        )
        runs = [run for run in runs if run.data.tags.get(KEY_TAG) == _quoted(key)]
        return [r.info.run_id for r in sorted(runs, key=lambda r: (r.info.start_time, r.info.run_id))]

    def _create(self, key: str, event: Mapping[str, Any]) -> str:
        parent = event.get("parent")
        tags = {KEY_TAG: _quoted(key)}
        if parent is not None:
            tags["mlflow.parentRunId"] = self._run_id(parent)
        with folder_lock(self._folder, "setup"):
            if found := self._find(key):
                return found[0]
            made = self._client.create_run(
                self._experiment_id, start_time=event.get("at_ms"), tags=tags, run_name=event.get("name", key)
            ).info.run_id
        if parent is not None:  # a child is one worker's
            return str(made)
        time.sleep(_SETTLE_S)
        kept = self._find(key)[0]
        if kept != made:
            self._client.delete_run(made)
        return kept

    # --- events ------------------------------------------------------------------------------------------

    def _do(self, event: Mapping[str, Any]) -> None:
        run_id = self._run_id(event["key"], event)
        if event["do"] == "run":
            self._reopen(run_id, event["at_ms"])
            self._take(event, lambda: self._client.log_batch(run_id, tags=_tags(event["tags"])))
        elif event["do"] == "artifact":
            if Path(event["kept"]).is_dir():  # else it was taken before the crash
                folder = event["folder"] or None
                self._take(event, lambda: self._client.log_artifacts(run_id, event["kept"], folder))
        elif event["do"] == "dataset":
            self._take(event, lambda: self._client.log_inputs(run_id, [_dataset(event)]))
        elif event["do"] == "model":
            if Path(event["kept"]).is_dir():
                self._take(event, lambda: self._log_model(run_id, event))
        elif event["do"] == "end":
            self._client.set_terminated(run_id, event["state"], event["at_ms"])

    def _log_model(self, run_id: str, event: Mapping[str, Any]) -> None:
        """A run has one model; a search that is judged again puts a new one in its place."""
        of_run = f"source_run_id = '{run_id}'"
        for old in self._client.search_logged_models([self._experiment_id], of_run):
            self._client.delete_logged_model(old.model_id)
        tags = {KEY_TAG: _quoted(event["key"])}
        made = self._client.create_logged_model(
            self._experiment_id, event["name"], run_id, tags, model_type="ehrbench"
        )
        self._client.log_model_artifacts(made.model_id, event["kept"])
        self._client.finalize_logged_model(made.model_id, "READY")

    def _reopen(self, run_id: str, at_ms: int) -> None:
        """A run that had ended before this call goes on."""
        info = self._client.get_run(run_id).info
        if info.status != "RUNNING" and (info.end_time or 0) < at_ms:
            self._client.update_run(run_id, status="RUNNING")

    def _log(self, key: str, batch: _Pending) -> None:
        if not batch.metrics and not batch.params:
            return
        from mlflow.entities import Metric, Param

        run_id = self._run_id(key)
        rows = self._missing(run_id, batch.metrics) if self._doubtful else list(dict.fromkeys(batch.metrics))
        params = [Param(name, value) for name, value in batch.params.items()]
        metrics = [Metric(name, value, at_ms, step) for name, value, at_ms, step in rows]
        for i in range(0, len(metrics), _MOST_METRICS):
            part = metrics[i : i + _MOST_METRICS]
            self._take(
                {"key": key, "metrics": rows[i : i + _MOST_METRICS]}, self._batch(run_id, metrics=part)
            )
        for i in range(0, len(params), _MOST_PARAMS):
            try:
                self._client.log_batch(run_id, params=params[i : i + _MOST_PARAMS])
            except Exception as error:
                if not _is_permanent(error):
                    raise
                for param in params[i : i + _MOST_PARAMS]:  # one of them is refused: keep the others
                    self._take(
                        {"key": key, "params": {param.key: param.value}}, self._batch(run_id, params=[param])
                    )

    def _batch(self, run_id: str, **content: Any) -> Any:
        return lambda: self._client.log_batch(run_id, **content)

    def _missing(
        self, run_id: str, rows: Sequence[tuple[str, float, int, int]]
    ) -> list[tuple[str, float, int, int]]:
        """Those of ``rows`` that the run does not hold yet."""
        held = {
            (metric.key, metric.timestamp, metric.step)
            for name in {row[0] for row in rows}
            for metric in self._client.get_metric_history(run_id, name)
        }
        return [row for row in dict.fromkeys(rows) if (row[0], row[2], row[3]) not in held]

    def _take(self, event: Mapping[str, Any], call: Any) -> None:
        """``call()``; what MLflow will never take is put aside and reported, so that it blocks nothing."""
        try:
            call()
        except Exception as error:
            if not _is_permanent(error):
                raise
            place = self._folder / "refused.txt"
            with place.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"error": str(error), **event}) + "\n")
            logger.warning("MLflow refused a call of run %s, kept in %s: %s", event["key"], place, error)


def _is_permanent(error: Exception) -> bool:
    return getattr(error, "error_code", None) in _PERMANENT


def _name(name: str) -> str:
    """MLflow takes letters, digits, and ``_-. :/`` in names."""
    return re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)[:250]


def _quoted(key: str) -> str:
    return key.replace("'", "’")


def _dataset(event: Mapping[str, Any]) -> Any:
    from mlflow.entities import Dataset, DatasetInput

    profile = json.dumps(event["facts"])
    source = json.dumps({"tags": {"ehrbench": "the files that the run's config.yaml names"}})
    return DatasetInput(Dataset(event["name"], event["digest"], "code", source, profile=profile), [])


def _tags(tags: Mapping[str, str]) -> list[Any]:
    from mlflow.entities import RunTag

    return [RunTag(name, str(value)) for name, value in tags.items()]
