"""Releasing: what the registry is asked to do with a run: opened, registered, deployed, and told of.

``command.registering`` says it on the command line, ``command.pipeline`` does it one after another. What
trains or judges is imported where it is used. Every event goes to the webhook of the environment, after it
has happened.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ehrbench.core.bundle import bundle_folder
from ehrbench.core.errors import StorageError
from ehrbench.core.run_folder import CERTIFICATE, RunFolder
from ehrbench.infra.settings import Environment
from ehrbench.registry import webhook
from ehrbench.registry.promotion import deployable
from ehrbench.registry.release import (
    BUNDLE_FOLDER,
    CERTIFICATE_FILE,
    CHALLENGER,
    CHAMPION,
    DIGEST,
    RUN,
    Registry,
    Release,
    ReleaseName,
)

if TYPE_CHECKING:
    from ehrbench.runtime.bundle import Bundle

WEBHOOK = "REGISTRY_WEBHOOK"
#: Where deployed bundles lie in their folder: a server takes every name without a dot in front for an alias.
RELEASES = ".releases"


def registry_address(uri: str | None, runs_dir: Path) -> str:
    """Of the MLflow at ``uri``, at the environment's address, or in the file of ``runs_dir``."""
    from ehrbench.infra.mlflow_store import tracking_address

    return tracking_address(
        uri or Environment.read().mlflow_tracking_uri or None, runs_dir.absolute(), "--uri"
    )


def open_registry(uri: str | None, runs_dir: Path) -> Registry:
    """The registry there. Raises StorageError where it does not answer."""
    if hook := Environment.read().registry_webhook:
        webhook.check_address(WEBHOOK, hook.reveal())  # before anything has happened
    from mlflow.exceptions import MlflowException

    from ehrbench.infra.mlflow_store import artifacts_of, connected, sqlite_path
    from ehrbench.registry.mlflow_registry import MlflowRegistry

    address = registry_address(uri, runs_dir)
    store = sqlite_path(address)
    if store is not None:
        store.parent.mkdir(parents=True, exist_ok=True)
    try:
        client = connected(address)
        client.search_experiments(max_results=1)
    except (MlflowException, OSError) as error:
        said = str(error).splitlines()[0][:200]
        raise StorageError(
            f"registry {address}: {said} — start its server, or name another by --uri"
        ) from error
    return MlflowRegistry(client, address, None if store is None else artifacts_of(store))


def register(registry: Registry, run: Path, problem: str | None, kind: str | None, features: str) -> Release:
    """Keep a run's bundle, or a bundle alone, as the next version, the challenger.

    problem, kind: of its name; None: the bundle's own task, and its model or ``ensemble``. Raises BundleError
    for a run or bundle that is not as it was written, or does not say what its models said.
    """
    from ehrbench.app.runs.sealing import check_seal
    from ehrbench.runtime.bundle import Bundle

    run = run.resolve()
    place = bundle_folder(run)
    is_run = place != run
    if is_run:
        check_seal(RunFolder.open(run))
    bundle = Bundle.load(place)
    bundle.self_test()
    name = named(bundle, problem, kind, features)
    with tempfile.TemporaryDirectory(prefix="ehrbench-") as folder:
        shutil.copytree(place, Path(folder) / BUNDLE_FOLDER)
        if is_run:
            shutil.copy(run / CERTIFICATE, Path(folder) / CERTIFICATE_FILE)
        release = registry.register(name, Path(folder), _tags(bundle, run if is_run else None))
    registry.point(name, CHALLENGER, release.version)
    tell("registered", release)
    return release


def named(bundle: Bundle, problem: str | None, kind: str | None, features: str) -> ReleaseName:
    """The name asked for; what is not said of it is the bundle's own, as far as a name may hold it."""
    from ehrbench.app.runs.made_by import made_by

    def own(text: str) -> str:
        return re.sub(r"[^\w+-]", "-", text, flags=re.ASCII)

    models = list(bundle.manifest.models)
    kind = kind or own(models[0] if len(models) == 1 else "ensemble")
    problem = problem or own(made_by(bundle).task.name)
    return ReleaseName.read(f"{problem}/{kind}/{features}")[0]


def _tags(bundle: Bundle, run: Path | None) -> dict[str, str]:
    manifest = bundle.manifest
    tags = {DIGEST: bundle.digest, "study": manifest.study_name, "task": manifest.task}
    tags |= {"cohort": manifest.cohort, "created": manifest.created, "git_commit": manifest.git_commit}
    return tags | ({RUN: str(run)} if run else {})


def deploy(
    registry: Registry, name: ReleaseName, version: str | None, folder: Path, alias: str = CHAMPION
) -> Release:
    """Put an approved version, by default the champion, into a folder under an alias, in one step."""
    from ehrbench.app.runs.gating import opened

    release = deployable(registry, name, version)
    folder = folder.resolve()
    place = folder / RELEASES / f"{name.registered}.{release.version}"
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        with tempfile.TemporaryDirectory(prefix=".", dir=place.parent) as work:
            opened(registry, release, Path(work) / "content").bundle.directory.replace(place)
    link = folder / f".{alias}-{os.getpid()}"
    link.symlink_to(place.relative_to(folder))
    link.replace(folder / alias)  # one step: who opens it finds the old bundle or the new one
    tell("deployed", release)
    return release


def tell(what: str, release: Release, **more: Any) -> None:
    """Post an event to the webhook, where there is one; what cannot be told is said, and changes nothing."""
    address = Environment.read().registry_webhook
    if not address:
        return
    event: Mapping[str, Any] = {
        "event": what,
        "release": str(release),
        "bundle": release.tags.get(DIGEST, ""),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        **more,
    }
    if why := webhook.post(address.reveal(), event):
        print(f"the webhook was not told: it {why}", file=sys.stderr)
