"""Wiring: a checked configuration to a Search. Nothing else in ehrbench knows all floors at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ehrbench import metrics
from ehrbench.app.composed.checking import Settings
from ehrbench.app.wired.answering import answer_ms
from ehrbench.app.wired.backend import make_sampler, open_artifacts, open_backend
from ehrbench.app.wired.building import ModelBuilder, build_publisher, build_task, settings_of
from ehrbench.app.wired.data_versions import recorded_versions
from ehrbench.app.wired.sources import sources
from ehrbench.app.wired.splitting import read_and_split
from ehrbench.core.errors import ConfigError
from ehrbench.core.metric import Metric
from ehrbench.core.progress import Progress
from ehrbench.core.task import Cohort, Publisher, Task
from ehrbench.ensemble import Ensemble
from ehrbench.spine.dataset import Dataset
from ehrbench.spine.latency import LatencyLimit
from ehrbench.spine.race import Race
from ehrbench.spine.search import Contender, Search
from ehrbench.spine.space import read_space
from ehrbench.spine.thresholds import ThresholdRule

#: Keys of ``data`` that name a person's own files; a publisher has those that it reads.
OWN_FILES = ("file", "test_file", "labels", "descriptors")


@dataclass(frozen=True)
class Wired:
    """A search ready to run, and what its outputs need to say.

    versions: of the data, as DVC has recorded them.
    """

    search: Search
    task: Task
    cohort: Cohort
    settings: Settings
    config: Mapping[str, Any]
    versions: Mapping[str, Any]

    def modules(self) -> list[str]:
        """All code that shapes the figures: of models, featurizers, task, metric, and what reads the data."""
        blocks = [contender.builder.settings() for contender in self.search.contenders.values()]
        shaping = [self.search.settings, *blocks]
        reader = str(self.config["task"]["publisher"]["_target_"]).rpartition(".")[0]
        return sorted({*sources(reader), *(name for block in shaping for name in block["code"])})


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
    versions = recorded_versions(settings.data)
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
        ordered=task.ordered,
        latency=_latency(settings),
    )
    return Wired(search, task, cohort, settings, config, versions)


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
    portfolio = _portfolio(raw, builder) if settings.search.portfolio and space.parameters else ()
    return Contender(builder, space, raw.get("space") or {}, n_trials, portfolio)


def _portfolio(raw: Mapping[str, Any], builder: ModelBuilder) -> tuple[Mapping[str, Any], ...]:
    """Settings that the first trials try, as far as the space holds them; ConfigError for one of no model."""
    key, given = f"model.{builder.name}.portfolio", raw.get("portfolio") or []
    if not isinstance(given, list) or not all(isinstance(one, Mapping) for one in given):
        raise ConfigError(key, f"{given!r} is no list of settings", f"write {key}=[{{name: value}}]")
    for number, one in enumerate(given):
        for name, value in one.items():
            if not builder.takes(name, value):
                raise ConfigError(
                    f"{key}.{number}.{name}",
                    "the model has no such setting",
                    f"see model.{builder.name}.build for those it has",
                )
    return tuple(dict(one) for one in given)


def _latency(settings: Settings) -> LatencyLimit | None:
    limit = settings.search.latency_ms
    return None if limit is None else LatencyLimit(limit, settings.refit == "inner", answer_ms)
