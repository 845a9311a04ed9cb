"""MlflowTree: what one run of the pipeline did, as one tree of MLflow's runs.

A run named after the study, below it one a step, and below the step ``search`` the search's own run with its
trials, which ``MlflowTracker`` writes. Everything is found again by its tags, so that a pipeline that was
stopped goes on in the tree that it began.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ehrbench.core.errors import StorageError
from ehrbench.infra.mlflow_store import connected, experiment_of, sqlite_path
from ehrbench.infra.mlflow_tracker import KEY_TAG, PARENT_TAG, SEARCH_TAG

PIPELINE_TAG, STEP_TAG, TOLD_TAG = "ehrbench.pipeline", "ehrbench.step", "told"
_LONGEST = 5000


class MlflowTree:
    """address: MLflow's; experiment: its name, that of the search; name: of the study.

    Raises StorageError where MLflow does not answer.
    """

    def __init__(self, address: str, experiment: str, name: str) -> None:
        self._address, self._name = address, name
        with self._asked():
            self._client = connected(address)
            self._experiment = experiment_of(self._client, experiment, sqlite_path(address))
        self._root = self._found_or_made(name, "pipeline")

    @contextmanager
    def step(self, name: str) -> Iterator[dict[str, str]]:
        """A step's run while it is done; what is put into the yielded tags is written at its end.

        Where the step fails, its run and the whole have failed, and say why.
        """
        tags: dict[str, str] = {}
        run_id = self._found_or_made(name, name, self._root)
        for begun in (self._root, run_id):
            with self._asked():
                self._client.update_run(begun, status="RUNNING")
        try:
            yield tags
        except BaseException as error:
            self._end(run_id, {**tags, TOLD_TAG: str(error) or type(error).__name__}, "FAILED")
            self._end(self._root, {}, "FAILED")
            raise
        self._end(run_id, tags, "FINISHED")

    def finish(self, tags: Mapping[str, str]) -> None:
        """All steps are done, or nothing can be done before somebody else has acted."""
        self._end(self._root, tags, "FINISHED")

    def adopt(self, identity: str) -> None:
        """Put the search's own run, where it is in this MLflow, below the step ``search``."""
        step = self._found_or_made("search", "search", self._root)
        for run in self._found({SEARCH_TAG: identity, KEY_TAG: self._name}):
            with self._asked():
                self._client.set_tag(run.info.run_id, PARENT_TAG, step)

    def _found_or_made(self, name: str, step: str, above: str | None = None) -> str:
        tags = {PIPELINE_TAG: self._name, STEP_TAG: step}
        for run in self._found(tags):
            return str(run.info.run_id)
        with self._asked():
            more = {} if above is None else {PARENT_TAG: above}
            made = self._client.create_run(self._experiment, tags={**tags, **more}, run_name=name)
        return str(made.info.run_id)

    def _found(self, tags: Mapping[str, str]) -> Sequence[Any]:
        wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        with self._asked():
            return list(self._client.search_runs([self._experiment], wanted, max_results=1))

    def _end(self, run_id: str, tags: Mapping[str, str], status: str) -> None:
        with self._asked():
            for key, value in tags.items():
                self._client.set_tag(run_id, key, value[:_LONGEST])
            self._client.set_terminated(run_id, status)

    @contextmanager
    def _asked(self) -> Iterator[None]:
        from mlflow.exceptions import MlflowException

        try:
            yield
        except (MlflowException, OSError) as error:
            said = (str(error) or type(error).__name__).splitlines()[0][:200]
            raise StorageError(
                f"MLflow {self._address}: {said} — start its server, then the same command again"
            ) from error
