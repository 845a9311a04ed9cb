"""Wiring: a checked configuration to a Search. Nothing else in ehrbench knows all floors at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ehrbench import metrics
from ehrbench.app.composed.blocks import EnsembleBlock, ModelBlock, Settings
from ehrbench.app.wired.answering import answer_ms
from ehrbench.app.wired.backend import make_sampler, open_artifacts, open_backend
from ehrbench.app.wired.building import ModelBuilder, build_publisher, build_task
from ehrbench.app.wired.data_versions import recorded_versions
from ehrbench.app.wired.splitting import read_and_split
from ehrbench.app.wired.study_code import sources
from ehrbench.core.errors import ConfigError
from ehrbench.core.metric import Metric
from ehrbench.core.progress import Progress
from ehrbench.core.task import Cohort, Publisher, Task
from ehrbench.ensemble import Ensemble
from ehrbench.spine.dataset import Dataset
from ehrbench.spine.latency import AnswerLimit
from ehrbench.spine.race import Race
from ehrbench.spine.search import Contender, Search
from ehrbench.spine.space import read_space
from ehrbench.spine.thresholds import ThresholdRule

#: Keys of ``data`` that name a person's own files; a publisher has those that it reads.
OWN_FILES = ("file", "test_file", "labels", "descriptors")


@dataclass(frozen=True)
class Wired:
    """A search ready to run, and what its outputs need to say.

    settings: with what the data say of the task in them. versions: of the data, as DVC has recorded them.
    """

    search: Search
    task: Task
    cohort: Cohort
    settings: Settings
    versions: Mapping[str, Any]

    def modules(self) -> list[str]:
        """All code that shapes the figures: of models, featurizers, task, metric, and what reads the data."""
        blocks = [contender.builder.settings() for contender in self.search.contenders.values()]
        shaping = [self.search.settings, *blocks]
        reader = str(self.settings.task.publisher["_target_"]).rpartition(".")[0]
        return sorted({*sources(reader), *(name for block in shaping for name in block["code"])})


@dataclass(frozen=True)
class Plan:
    """What a configuration asks for, as far as it takes neither data nor storage to say so."""

    task: Task
    metric: Metric
    contenders: Mapping[str, Contender]
    ensemble: Mapping[str, Any]
    threshold: ThresholdRule


def plan(settings: Settings) -> Plan:
    """The plan; ConfigError for whatever of it cannot be, a package that an option needs included."""
    make_sampler(settings.sampler, settings.seed)
    open_artifacts(settings)
    task = build_task(settings.task.build)
    metric = metrics.load(settings.metric)
    contenders = {name: _contender(name, block, task, settings) for name, block in settings.model.items()}
    threshold = ThresholdRule(settings.threshold.rule, settings.threshold.value)
    return Plan(task, metric, contenders, tried(settings.ensemble), threshold)


def wire(settings: Settings, study_name: str, progress: Progress) -> Wired:
    """Plan, read the data, cut the folds, open the storage."""
    settings, publisher = settled(settings, progress)
    planned = plan(settings)
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
        task=settings.task.name,
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
    return Wired(search, task, cohort, settings, versions)


def settled(settings: Settings, progress: Progress) -> tuple[Settings, Publisher]:
    """The settings with what the data say of the task in them, and the publisher of that task.

    Files that the publisher is given are those of ``data``, whose places are whole.
    """
    block = settings.task
    files = {key: getattr(settings.data, key) for key in OWN_FILES if key in block.publisher}
    publisher = build_publisher(block.publisher | files, build_task(block.build))
    more = publisher.settle(Path(settings.data.root), progress).settings()
    changed = {"publisher": block.publisher | files, "build": block.build | dict(more)}
    return settings.model_copy(update={"task": block.model_copy(update=changed)}), publisher


def tried(block: EnsembleBlock) -> dict[str, Any]:
    """Options of the ensemble; ConfigError where a name is wrong, before anything runs."""
    options = block.model_dump(exclude_unset=True)
    Ensemble(**options)
    return options


def _contender(name: str, block: ModelBlock, task: Task, settings: Settings) -> Contender:
    space = read_space(block.space or {}, f"model.{name}.space")
    builder = ModelBuilder(name, block, settings.task.views, task.target)
    builder({})  # a setting that cannot be, shows before any data are read
    for parameter in space.parameters:
        if not builder.takes(parameter.name, parameter.first):
            key = f"model.{name}.space.{parameter.name}"
            raise ConfigError(
                key, "the model has no such setting", f"see model.{name}.build for those it has"
            )
    portfolio = _portfolio(block, builder)
    if not (settings.search.portfolio and space.parameters):
        portfolio = ()
    return Contender(builder, space, block.space or {}, block.n_trials or settings.n_trials, portfolio)


def _portfolio(block: ModelBlock, builder: ModelBuilder) -> tuple[Mapping[str, Any], ...]:
    """Settings that the first trials try, as far as the space holds them; ConfigError for one of no model."""
    for number, one in enumerate(block.portfolio):
        for name, value in one.items():
            if not builder.takes(name, value):
                raise ConfigError(
                    f"model.{builder.name}.portfolio.{number}.{name}",
                    "the model has no such setting",
                    f"see model.{builder.name}.build for those it has",
                )
    return tuple(block.portfolio)


def _latency(settings: Settings) -> AnswerLimit | None:
    limit = settings.search.latency_ms
    return None if limit is None else AnswerLimit(limit, settings.refit == "inner", answer_ms)
