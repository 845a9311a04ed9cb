"""What Hydra composes: ``ehrbench search | train | evaluate | predict | pipeline run | pipeline schedule``.

``experiments/*.py`` are the first four under the names they always had. What takes seconds to import
(optimisers, models, the page) is imported once the configuration is known to be one, and after a first line.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from ehrbench.app.command.usage import usage
from ehrbench.app.composed.conf import CONF
from ehrbench.app.composed.entry import guarded, start
from ehrbench.app.search.workers import is_worker

if TYPE_CHECKING:
    from ehrbench.app.composed.blocks import Settings


@dataclass(frozen=True)
class _Command:
    """config: the name of its YAML under ``ehrbench/conf``; act: on what is composed of it."""

    config: str
    act: Callable[[Mapping[str, Any]], float | None]


def run(name: str, arguments: Sequence[str]) -> None:
    """Compose the configuration from the arguments and do what it says; SystemExit where it cannot be.

    Hydra reads ``sys.argv``, and hands it on to the processes that its launchers start.
    """
    import hydra

    command = COMMANDS[name]
    sys.argv = [f"ehrbench {name}", *arguments]
    if not {"-h", "--help"}.isdisjoint(arguments):
        print(usage(name, command.config))

    @hydra.main(config_path=str(CONF), config_name=command.config)
    def composed(config: DictConfig) -> float | None:
        return guarded(command.act, config)

    start(name.replace(" ", "-"), composed)


def _search(config: Mapping[str, Any]) -> float | None:
    settings = _checked(config)
    joins = is_worker() or settings.worker is not None
    trials = f", {settings.n_trials} trials a study"
    _say_search("worker" if joins else "search", settings, trials)
    from ehrbench.app.search import searching

    if joins:
        searching.work(config)
        return None
    return searching.search(config)


def _train(config: Mapping[str, Any]) -> float:
    _say_search("train", _checked(config))
    from ehrbench.app.search import searching

    return searching.train(config)


def _checked(config: Mapping[str, Any]) -> Settings:
    from ehrbench.app.composed.checking import check

    return check(config)


def _say_search(name: str, settings: Settings, trials: str = "") -> None:
    """The first line, once the keys are known to be some."""
    _say(name, f"task {settings.task.name}, {settings.protocol.name}{trials}, into {settings.runs_dir}")


def _evaluate(config: Mapping[str, Any]) -> float:
    from ehrbench.app.composed.blocks import Evaluation
    from ehrbench.app.composed.checking import checked

    settings = checked(Evaluation, config)
    _say("evaluate", f"{settings.bundle} on {', '.join(settings.data.sets)}")
    from ehrbench.app.runs import scoring

    return scoring.evaluate_bundle(config)


def _predict(config: Mapping[str, Any]) -> None:
    from ehrbench.app.composed.blocks import BatchPrediction
    from ehrbench.app.composed.checking import checked

    settings = checked(BatchPrediction, config)
    _say("predict", f"{settings.input} by {settings.bundle}")
    from ehrbench.app.runs import scoring

    scoring.predict_files(config)


def _pipeline(config: Mapping[str, Any]) -> None:
    _begin_pipeline("pipeline run", config)
    from ehrbench.app.command.pipeline import run_pipeline

    run_pipeline(config)


def _schedule(config: Mapping[str, Any]) -> None:
    from hydra.core.hydra_config import HydraConfig

    _begin_pipeline("pipeline schedule", config)
    from ehrbench.app.command.scheduling import schedule

    schedule(config, list(HydraConfig.get().overrides.task))


def _begin_pipeline(name: str, config: Mapping[str, Any]) -> None:
    from ehrbench.app.composed.pipeline_settings import pipeline_settings

    settings, search = pipeline_settings(config)
    checked = _checked(search)
    _say_search(name, checked, f", {checked.n_trials} trials a study")
    _say(name, f"served from {settings.served}, approved by {settings.approve}")


def _say(name: str, what: str) -> None:
    print(f"{name}: {what}", file=sys.stderr, flush=True)


COMMANDS = {
    "search": _Command("config", _search),
    "train": _Command("config", _train),
    "evaluate": _Command("evaluate", _evaluate),
    "predict": _Command("predict", _predict),
    "pipeline run": _Command("pipeline", _pipeline),
    "pipeline schedule": _Command("pipeline", _schedule),
}
