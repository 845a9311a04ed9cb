"""MlflowRegistry: releases in MLflow's model registry (3.x: aliases and tags, no stages).

A version's content is a logged model of the experiment ``ehrbench-registry``, so that it lies where that
server keeps its artifacts; the registered version names it as its source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ehrbench.core.errors import StorageError
from ehrbench.registry.release import SEPARATOR, Release, ReleaseName

EXPERIMENT = "ehrbench-registry"
_MARK = "ehrbench.release"
#: Bytes of a tag's value that every store of MLflow takes.
_LONGEST = 5000


class MlflowRegistry:
    """client: an ``MlflowClient``; uri: its address; place: of artifacts, None: the server has its own."""

    def __init__(self, client: Any, uri: str, place: str | None = None) -> None:
        self._client, self._uri, self._place = client, uri, place

    def names(self) -> list[ReleaseName]:
        with self._asked():
            models = self._client.search_registered_models(f"tags.`{_MARK}` = '1'", max_results=1000)
        return [ReleaseName(*model.name.split(SEPARATOR)) for model in models]

    def releases(self, name: ReleaseName) -> list[Release]:
        with self._asked():
            named = f"name = '{name.registered}'"
            versions = list(self._client.search_model_versions(named, max_results=10_000))
            aliases: Mapping[str, Any] = {}
            if versions:
                aliases = self._client.get_registered_model(name.registered).aliases
        found = [
            Release(
                name,
                str(one.version),
                dict(one.tags),
                tuple(
                    sorted(alias for alias, version in aliases.items() if str(version) == str(one.version))
                ),
            )
            for one in versions
        ]
        return sorted(found, key=lambda release: int(release.version))

    def register(self, name: ReleaseName, folder: Path, tags: Mapping[str, str]) -> Release:
        with self._asked():
            model = self._client.create_logged_model(
                self._experiment(), name.registered, tags=_cut(tags), model_type="ehrbench"
            )
            self._client.log_model_artifacts(model.model_id, str(folder))
            self._client.finalize_logged_model(model.model_id, "READY")
            self._open(name)
            made = self._client.create_model_version(
                name.registered, f"models:/{model.model_id}", model_id=model.model_id, tags=_cut(tags)
            )
        return Release(name, str(made.version), dict(tags))

    def fetch(self, release: Release, folder: Path) -> Path:
        from mlflow.artifacts import download_artifacts

        with self._asked():
            version = self._client.get_model_version(release.name.registered, release.version)
            place = {"dst_path": str(folder), "tracking_uri": self._uri}
            return Path(download_artifacts(artifact_uri=version.source, **place))

    def tag(self, release: Release, tags: Mapping[str, str]) -> None:
        with self._asked():
            for key, value in _cut(tags).items():
                self._client.set_model_version_tag(release.name.registered, release.version, key, value)

    def point(self, name: ReleaseName, alias: str, version: str) -> None:
        with self._asked():
            self._client.set_registered_model_alias(name.registered, alias, version)

    def drop(self, name: ReleaseName, alias: str) -> None:
        with self._asked():
            self._client.delete_registered_model_alias(name.registered, alias)

    def _open(self, name: ReleaseName) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name.registered, tags={_MARK: "1"})
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        return str(found.experiment_id if found else self._client.create_experiment(EXPERIMENT, self._place))

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """MLflow asks its global address for a logged model, whatever the client's: ours, inside."""
        import mlflow
        from mlflow.exceptions import MlflowException

        before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None  # type: ignore[no-untyped-call]
        try:
            mlflow.set_tracking_uri(self._uri)
            yield
        except (MlflowException, OSError) as error:
            said = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise StorageError(
                f"registry {self._uri}: {said} — is its server up, and may you write there?"
            ) from error
        finally:
            mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  # None: none, as it was


def _cut(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: value[:_LONGEST] for key, value in tags.items()}
