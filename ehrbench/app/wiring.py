"""Wiring: a checked configuration to a Search. Nothing else in ehrbench knows all floors at once."""

from __future__ import annotations

import json
import os
import socket
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from ehrbench import metrics
from ehrbench.app.building import ModelBuilder, build_publisher, build_task, settings_of
from ehrbench.app.checking import Data, External, Holdout, Nested, Sampler, Settings, Temporal
from ehrbench.app.sources import sources
from ehrbench.core.digest import derive_seed
from ehrbench.core.errors import ConfigError, DataError
from ehrbench.core.ledger import StudyKey
from ehrbench.core.metric import Metric
from ehrbench.core.progress import Progress
from ehrbench.core.task import Cohort, Publisher, Task
from ehrbench.core.tracker import NoTracker, Tracker
from ehrbench.core.types import IntArray
from ehrbench.ensemble import Ensemble
from ehrbench.infra.artifacts import FileArtifacts
from ehrbench.infra.database import Database
from ehrbench.infra.lease import LeaseKeeper
from ehrbench.infra.ledger import SqlLedger
from ehrbench.infra.settings import Environment
from ehrbench.infra.study import Dashboard, optuna_storage
from ehrbench.spine import folds
from ehrbench.spine.dataset import Dataset
from ehrbench.spine.folds import Split
from ehrbench.spine.pruning import RacePruner
from ehrbench.spine.race import Race
from ehrbench.spine.search import Backend, Contender, Search
from ehrbench.spine.space import Space, read_space
from ehrbench.spine.thresholds import ThresholdRule


@dataclass(frozen=True)
class Wired:
    """A search ready to run, and what its outputs need to say."""

    search: Search
    task: Task
    cohort: Cohort
    settings: Settings
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """What a configuration asks for, as far as it takes neither data nor storage to say so."""

    task: Task
    metric: Metric
    contenders: Mapping[str, Contender]
    ensemble: Mapping[str, Any]
    threshold: ThresholdRule


def plan(config: Mapping[str, Any], settings: Settings) -> Plan:
    """The plan; ConfigError for whatever of it cannot be, a package that an option needs included."""
    make_sampler(settings.sampler, settings.seed)
    open_artifacts(settings)
    task = build_task(config["task"])
    metric = metrics.load(settings.metric)
    contenders = {name: _contender(name, config, task, settings) for name in named_models(config)}
    threshold, ensemble = check_threshold(config["threshold"]), check_ensemble(config["ensemble"])
    return Plan(task, metric, contenders, ensemble, threshold)


def wire(config: Mapping[str, Any], settings: Settings, study_name: str, progress: Progress) -> Wired:
    """Plan, read the data, cut the folds, open the storage."""
    config, publisher = settled(config, settings, progress)
    planned = plan(config, settings)
    task, metric = planned.task, planned.metric
    cohort, split = read_and_split(publisher, settings, progress)
    target = task.target.without(split.unscored)
    race = None
    if settings.pruner.name != "none":
        race = Race(
            metrics.load("auroc") if metric.needs_threshold else metric, target, settings.pruner.blocks
        )
    used = [task, metric, *([race.metric] if race else [])]
    search = Search(
        study_name=study_name,
        task=str(config["task"]["name"]),
        target=target,
        dataset=Dataset(cohort),
        split=split,
        contenders=planned.contenders,
        metric=metric,
        race=race,
        ensemble=planned.ensemble,
        threshold=planned.threshold,
        refit=settings.refit,
        seed=settings.seed,
        backend=open_backend(settings),
        settings={
            "sampler": settings.sampler.model_dump(),
            "pruner": settings.pruner.model_dump(),
            "code": sources(*(type(part).__module__ for part in used)),
        },
        tags={"cohort": cohort.label, "protocol": split.label, "task": str(config["task"]["name"])},
        ordered=task.ordered,
    )
    return Wired(search, task, cohort, settings, config)


#: Keys of ``data`` that name a person's own files; a publisher has those that it reads.
OWN_FILES = ("file", "test_file", "labels", "descriptors")


def settled(
    config: Mapping[str, Any], settings: Settings, progress: Progress
) -> tuple[Mapping[str, Any], Publisher]:
    """The configuration with what the data say of the task in it, and the publisher of that task.

    Files that the publisher is given are those of ``data``, whose places are whole.
    """
    block = config["task"]
    files = {key: getattr(settings.data, key) for key in OWN_FILES if key in block["publisher"]}
    block = {**block, "publisher": {**block["publisher"], **files}}
    config = {**config, "task": block}
    publisher = build_publisher(block, build_task(block))
    if more := publisher.settle(Path(settings.data.root), progress).settings():
        config = {**config, "task": {**block, "build": {**block["build"], **more}}}
    return config, publisher


def named_models(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Model -> its YAML's content; ConfigError where the command names none."""
    models: Mapping[str, Any] = config.get("model") or {}
    if not models:
        raise ConfigError("models", "no model is named", "for example models=[ssm,lstm,lightgbm]")
    return models


def check_ensemble(config: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the ensemble, tried once so that a wrong name shows before anything runs."""
    options = dict(config)
    if unknown := sorted(set(options) - {"combiners", "calibrators"}):
        raise ConfigError(f"ensemble.{unknown[0]}", "unknown key", "give combiners and calibrators")
    for name, value in options.items():
        if not isinstance(value, list):
            raise ConfigError(
                f"ensemble.{name}", f"{value!r} is not a list", f"write ensemble.{name}=[{value}]"
            )
    Ensemble(**options)
    return options


def check_threshold(config: Mapping[str, Any]) -> ThresholdRule:
    """The rule of the configuration; ConfigError for a key it does not know, or a value it cannot use."""
    if unknown := sorted(set(config) - {"rule", "value"}):
        raise ConfigError(f"threshold.{unknown[0]}", "unknown key", "give rule and value")
    return ThresholdRule(**dict(config))


def _contender(name: str, config: Mapping[str, Any], task: Task, settings: Settings) -> Contender:
    raw = config["model"][name]
    space = read_space(raw.get("space") or {}, f"model.{name}.space")
    builder = ModelBuilder(name, raw, settings_of(config["task"], "views", "task"), task.target)
    builder({})  # a setting that cannot be, shows before any data are read
    for parameter in space.parameters:
        if not builder.takes(parameter.name, parameter.first):
            key = f"model.{name}.space.{parameter.name}"
            raise ConfigError(
                key, "the model has no such setting", f"see model.{name}.build for those it has"
            )
    n_trials = raw.get("n_trials")
    n_trials = settings.n_trials if n_trials is None else n_trials
    if isinstance(n_trials, bool) or not isinstance(n_trials, int) or n_trials < 1:
        raise ConfigError(
            f"model.{name}.n_trials", f"{n_trials!r} is not a number of trials", "give 1 or more"
        )
    return Contender(builder, space, raw.get("space") or {}, n_trials)


def read_and_split(publisher: Publisher, settings: Settings, progress: Progress) -> tuple[Cohort, Split]:
    """The cohort of the protocol, cut into its folds."""
    protocol, data, seed = settings.protocol, settings.data, settings.seed
    root = Path(data.root)
    match protocol:
        case Nested():
            cohort = _limited(publisher.cohort(root, data.sets, progress), data, seed)
            label = f"nested{_of(cohort)}"
            return cohort, folds.nested(
                cohort.records, protocol.outer_folds, protocol.inner_folds, seed, label
            )
        case Holdout():
            _check_holdout(data)
            cohort = _limited(
                publisher.cohort(root, [*data.train_sets, *data.test_sets], progress), data, seed
            )
            train, test = (
                np.flatnonzero(np.isin(cohort.set_of, names)) for names in (data.train_sets, data.test_sets)
            )
            label = f"holdout {'+'.join(data.train_sets)} -> {'+'.join(data.test_sets)}{_of(cohort)}"
            split = folds.holdout(
                cohort.records, train, test, protocol.inner_folds, seed, label, protocol.duplicates
            )
            return cohort, split
        case Temporal():
            cohort = _limited(publisher.cohort(root, data.sets, progress), data, seed)
            earlier, later = _by_time(cohort, protocol.before)
            label = f"temporal, before {protocol.before} -> after{_of(cohort)}"
            return cohort, folds.holdout(
                cohort.records, earlier, later, protocol.inner_folds, seed, label, protocol.duplicates
            )
        case External():
            if data.limit is not None:
                problem = "a file of splits says itself which records are used"
                raise ConfigError("data.limit", problem, "leave it out, or say data.limit=null")
            path = Path(protocol.path)
            named = _read_splits(path, need_valid=protocol.inner == "valid")
            cohort = _named(publisher.cohort(root, data.sets, progress), named)
            split = folds.from_file(
                cohort.records,
                named,
                protocol.inner_folds,
                seed,
                path.name,
                inner=protocol.inner,
                duplicates=protocol.duplicates,
            )
            return cohort, split


def _by_time(cohort: Cohort, before: str) -> tuple[IntArray, IntArray]:
    """Positions of the records before a day, and of those on it or later; of an unknown day neither."""
    if not len(cohort.time_of):
        raise ConfigError(
            "protocol", "the task's records have no time", "say task.time=COLUMN, where it has one"
        )
    try:
        day = (np.datetime64(before, "s") - np.datetime64("2000-01-01", "s")) / np.timedelta64(1, "D")
    except ValueError as error:
        raise ConfigError("protocol.before", f"{before!r} is no day", "write it as 2020-12-31") from error
    parts = np.flatnonzero(cohort.time_of < day), np.flatnonzero(cohort.time_of >= day)
    for part, where in zip(parts, ("before", "on or after"), strict=True):
        if not len(part):
            known = cohort.time_of[~np.isnan(cohort.time_of)]
            days = [str(np.datetime64("2000-01-01") + int(d)) for d in (known.min(), known.max())]
            remedy = f"choose a day between {days[0]} and {days[1]}"
            raise ConfigError("protocol.before", f"no record is {where} {before}", remedy)
    return parts


def _check_holdout(data: Data) -> None:
    for key, sets in (("data.train_sets", data.train_sets), ("data.test_sets", data.test_sets)):
        if not sets:
            remedy = f"give {key}=[...], or choose another protocol"
            raise ConfigError(key, "the hold-out protocol needs training and test sets", remedy)
    if both := sorted(set(data.train_sets) & set(data.test_sets)):
        raise ConfigError("data.test_sets", f"set {both[0]} is also a training set", "name it in one of them")


#: How the cohort's flow calls the records that ``data.limit`` leaves.
LIMITED = "left after data.limit"


def _of(cohort: Cohort) -> str:
    return f" (limited to {cohort.flow[LIMITED]} records)" if LIMITED in cohort.flow else ""


def _limited(cohort: Cohort, data: Data, seed: int) -> Cohort:
    """At most ``data.limit`` records, chosen by seed, group after group."""
    if data.limit is None or len(cohort.records) <= data.limit:
        return cohort
    _, group = np.unique(cohort.records.groups, return_inverse=True)
    order = np.random.default_rng(derive_seed(seed, "limit")).permutation(int(group.max()) + 1)
    rank = np.argsort(order)[group]  # (N,) position of each record's group in the random order
    chosen = np.sort(np.argsort(rank, kind="stable")[: data.limit])
    flow = {**cohort.flow, LIMITED: data.limit}
    return replace(cohort.take(chosen), flow=flow)


def _named(cohort: Cohort, splits: Sequence[Mapping[str, list[object]]]) -> Cohort:
    """The records that a file of splits names: nothing else takes part in its figures."""
    named = {str(name) for fold in splits for part in folds.PARTS for name in fold.get(part, ())}
    chosen = np.flatnonzero([str(name) in named for name in cohort.records.ids])
    if len(chosen) in (0, len(cohort.records)):  # none: the fold's first id is told as unknown
        return cohort
    flow = {**cohort.flow, "named in the file of splits": len(chosen)}
    return replace(cohort.take(chosen), flow=flow)


def _read_splits(path: Path, *, need_valid: bool) -> list[dict[str, list[object]]]:
    """The folds of a file of splits; DataError names the file and the fold that is not as it must be."""
    remedy = 'write {"folds": [{"train": [...], "valid": [...], "test": [...]}, ...]}'
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"cannot be read ({error.strerror})", file=path, remedy="give protocol.path=FILE"
        ) from error
    except ValueError as error:
        raise DataError(f"is not JSON ({error})", file=path, remedy=remedy) from error
    found = raw.get("folds") if isinstance(raw, dict) else None
    if not isinstance(found, list) or not found:
        raise DataError("holds no list of folds", file=path, field="folds", remedy=remedy)
    needed = ("train", "valid", "test") if need_valid else ("train", "test")
    for i, fold in enumerate(found):
        for part in folds.PARTS:
            ids = fold.get(part, [] if part not in needed else None) if isinstance(fold, dict) else None
            if not isinstance(ids, list) or (part in needed and not ids):
                field = f"folds[{i}].{part}"
                raise DataError("is not a list of record ids", file=path, field=field, remedy=remedy)
    return found


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
    """Ledger, leases, sampler, pruner, dashboard and tracker of the settings."""
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
        tracker=make_tracker(settings),
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


def make_tracker(settings: Settings) -> Tracker:
    tracker = settings.tracker
    if tracker.kind == "none":
        return NoTracker()
    from ehrbench.infra.tracking import MlflowTracker

    assert tracker.uri is not None  # check has filled it in
    return MlflowTracker(tracker.uri, tracker.experiment, Path(tracker.spool))
