"""MLflow's address, and its store of one file: ``mlflow.db`` with ``mlartifacts/`` beside it.

MLflow writes the whole path of the artifacts into its tables. A folder that was moved or copied would send
the artifacts of new runs to the old place, so it is told where it is before a search writes to it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ehrbench.core.errors import ConfigError
from ehrbench.core.places import place

FILE, ARTIFACTS = "mlflow.db", "mlartifacts"
#: Where MLflow keeps runs, beside its own servers and files.
_ELSEWHERE = ("mysql", "postgresql", "mssql", "databricks")


def sqlite_address(path: Path) -> str:
    """Of the store in ``path``, whatever characters stand in it.

    MLflow makes a second folder, of the name as it is quoted, unless the driver is named.
    """
    quoted = str(path).replace("%", "%25").replace("?", "%3F")
    return f"sqlite:///{path}" if quoted == str(path) else f"sqlite+pysqlite:///{quoted}"


def sqlite_path(address: str) -> Path | None:
    """The file that an address names; None for other addresses, and for one with options."""
    if not re.match(r"sqlite(\+pysqlite)?:///", address):
        return None
    from sqlalchemy import make_url  # a second, which other addresses need not wait for

    url = make_url(address)
    return Path(url.database) if url.database and not url.query else None


def tracking_address(given: str | None, runs_dir: Path, key: str) -> str:
    """The address that calls go to, by default of a file in ``runs_dir``; that of a file is in full.

    Raises ConfigError for what can be none: it would be waited for, as in an outage.
    """
    if not given:
        return sqlite_address(runs_dir / FILE)
    scheme, _, rest = given.partition("://")
    kind = scheme.partition("+")[0]
    if given == "databricks" or (kind in _ELSEWHERE and rest) or _names_a_server(given):
        return given
    if kind == "sqlite" and rest.startswith("/") and rest not in ("/", "/:memory:"):
        path = sqlite_path(given)
        return given if path is None else sqlite_address(place(path, key))
    remedy = f"write http://HOST:PORT or sqlite:///{FILE}"
    if re.fullmatch(r"[\w.-]+:\d+(/.*)?", given):
        remedy = f"write http://{given}"
    raise ConfigError(key, f"{given!r} is no address that MLflow keeps runs at", remedy)


def _names_a_server(address: str) -> bool:
    try:
        parts = urlsplit(address)
        usable = bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", address)
        return parts.scheme in ("http", "https") and usable
    except ValueError:  # a port that is no number
        return False


#: What of MLflow's tables names a place: table, its key, column.
_PLACED = (("runs", "run_uuid", "artifact_uri"), ("logged_models", "model_id", "artifact_location"))

_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # who calls repeats, or says so
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def connected(uri: str) -> Any:
    """An ``MlflowClient`` of the store at ``uri``; raises whatever MLflow does where it cannot be had.

    A store of one file is made where there is none, and told where it lies; a server is not asked yet.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    _find_home()
    from mlflow import MlflowClient  # sets its loggers' levels when imported: ours come after

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("mlflow.store").setLevel(logging.CRITICAL)  # a full disk is told in our one line
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # warns of each attempt
    store = sqlite_path(uri)
    if store is None:
        return MlflowClient(tracking_uri=uri)
    with store_lock(store):  # a fresh one is made by one process
        if not store.exists():
            make_store(store)
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
        tell_place(store)
    return client


def experiment_of(client: Any, name: str, store: Path | None) -> str:
    """The id of an experiment, made or restored where need be; store: the file it is kept in, if any."""
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, None if store is None else artifacts_of(store)))
        except Exception:
            found = client.get_experiment_by_name(name)  # made elsewhere meanwhile?
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _find_home() -> None:
    """MLflow asks for the user's home while it is imported, which a container's numeric user may lack."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = "/nonexistent"  # as Debian gives to users without one


@contextmanager
def store_lock(path: Path) -> Iterator[None]:
    """One process of this machine at a time looks after the store in ``path``."""
    with path.with_name(f"{path.name}.lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def make_store(path: Path) -> None:
    """A fresh store stands whole or not at all.

    Where MLflow is stopped while it makes one (a full disk, a kill), it leaves tables over which every later
    start of it stumbles.
    """
    from mlflow import MlflowClient

    draft = path.with_name(f"{path.name}.draft")
    draft.unlink(missing_ok=True)
    MlflowClient(tracking_uri=sqlite_address(draft)).search_experiments(max_results=1)
    draft.replace(path)


def artifacts_of(path: Path) -> str:
    """Where the artifacts of the store in ``path`` lie; MLflow's own default is the current directory."""
    return (path.resolve().parent / ARTIFACTS).as_uri()


def tell_place(path: Path) -> None:
    """Make the store in ``path`` name the artifacts beside it, where it was made elsewhere.

    Artifacts that did not come along are still looked for where they were.
    """
    now = artifacts_of(path)
    with closing(sqlite3.connect(path, timeout=60)) as store, store:
        locations = {
            found for (found,) in store.execute("SELECT artifact_location FROM experiments") if found
        }
        for was in sorted(locations - {now}):
            if not was.startswith("file://") or not was.endswith(f"/{ARTIFACTS}"):
                continue  # not of our making
            store.execute(
                "UPDATE experiments SET artifact_location = ? WHERE artifact_location = ?", (now, was)
            )
            for table, key, column in _PLACED:
                for one, uri in store.execute(f"SELECT {key}, {column} FROM {table}").fetchall():
                    if str(uri).startswith(f"{was}/"):
                        moved = now + uri.removeprefix(was)
                        if _is_there(moved) or not _is_there(uri):
                            store.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (moved, one))


def _is_there(uri: str) -> bool:
    return Path(unquote(urlsplit(uri).path)).exists()
