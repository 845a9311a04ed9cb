"""Backend: the storage, sampler and pruner of the settings, opened."""

from __future__ import annotations

import os
import socket
import warnings
from importlib.util import find_spec
from pathlib import Path

import optuna

from ehrbench.app.composed.blocks import Sampler, Settings
from ehrbench.core.errors import ConfigError
from ehrbench.core.ledger import StudyKey
from ehrbench.infra.artifacts import FileArtifacts
from ehrbench.infra.database import Database
from ehrbench.infra.lease import LeaseKeeper
from ehrbench.infra.ledger import SqlLedger
from ehrbench.infra.settings import Environment
from ehrbench.infra.study import Dashboard, optuna_storage
from ehrbench.spine.pruning import RacePruner
from ehrbench.spine.search import Backend
from ehrbench.spine.space import Space


def open_ledger(settings: Settings) -> tuple[Database, SqlLedger]:
    """The database of the settings and the ledger in it."""
    storage, environment = settings.storage, Environment.read()
    database = Database.of(storage.kind, Path(storage.path), environment)
    database.check()
    return database, SqlLedger(
        database.engine, open_artifacts(settings), storage.lease_s, storage.max_attempts
    )


def open_artifacts(settings: Settings) -> FileArtifacts:
    """The artifact store of the settings; nothing is made or asked yet."""
    options = Environment.read().object_store_options()
    return FileArtifacts(settings.storage.artifacts, options, folders=settings.storage.checkpoints)


def open_backend(settings: Settings) -> Backend:
    """Ledger, leases, sampler, pruner and dashboard of the settings."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    database, ledger = open_ledger(settings)
    storage = optuna_storage(database)

    def publish(key: StudyKey, space: Space, maximize: bool) -> Dashboard:
        return Dashboard(storage, database.engine, ledger, key, space, maximize)

    return Backend(
        ledger=ledger,
        hold_lease=lambda claim: LeaseKeeper(ledger, claim),
        make_sampler=lambda seed: make_sampler(settings.sampler, seed),
        pruner=make_pruner(settings),
        publish=publish,
        worker=f"{socket.gethostname()}:{os.getpid()}",
    )


def make_sampler(sampler: Sampler, seed: int) -> optuna.samplers.BaseSampler:
    """A seeded Optuna sampler; ConfigError where the package that it needs is not installed."""
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    match sampler.name:
        case "tpe":
            return optuna.samplers.TPESampler(
                seed=seed,
                n_startup_trials=sampler.n_startup_trials,
                multivariate=sampler.multivariate,
                group=sampler.group,
                constant_liar=sampler.constant_liar,
            )
        case "gp":
            return optuna.samplers.GPSampler(
                seed=seed, n_startup_trials=sampler.n_startup_trials, warn_independent_sampling=False
            )
        case "cmaes":
            if (
                find_spec("cmaes") is None
            ):  # Optuna looks for it in the midst of the first trial that needs it
                raise ConfigError(
                    "sampler", "cmaes needs a package of that name", "pip install cmaes, or tpe"
                )
            return optuna.samplers.CmaEsSampler(
                seed=seed, n_startup_trials=sampler.n_startup_trials, warn_independent_sampling=False
            )
        case "random":
            return optuna.samplers.RandomSampler(seed=seed)


def make_pruner(settings: Settings) -> optuna.pruners.BasePruner:
    pruner = settings.pruner
    if pruner.name == "none":
        return optuna.pruners.NopPruner()
    return RacePruner(pruner.least_chance)
