"""Building: configuration to objects. ``_target_`` is allowed under ``ehrbench.`` and in plugins only."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from ehrbench.app.composed.blocks import Construction, ModelBlock
from ehrbench.app.wired.study_code import sources
from ehrbench.core import plugins
from ehrbench.core.errors import ConfigError
from ehrbench.core.featurizer import Featurizer
from ehrbench.core.model import Model
from ehrbench.core.target import Target
from ehrbench.core.task import Publisher, Task

#: Settings of a model that change where it runs, not what it computes.
NOT_SHAPING = frozenset({"accelerator", "threads"})


def build(config: Construction, key: str, **more: Any) -> Any:
    """An object of ``_target_`` with the other entries as keyword arguments, nested objects first.

    Raises ConfigError naming the key for a target outside ehrbench and plugins, one that does not exist, or
    an unknown, missing or refused argument.
    """
    target, arguments = _target(config, key)
    built = {name: _build_value(value, f"{key}.{name}") for name, value in arguments.items()} | more
    accepted = inspect.signature(target).parameters
    if not _takes_any(accepted) and (unknown := sorted(set(built) - set(accepted))):
        raise ConfigError(
            f"{key}.{unknown[0]}", f"unknown setting of {target.__name__}", f"it takes {', '.join(accepted)}"
        )
    missing = [
        n for n, p in accepted.items() if p.default is p.empty and p.kind is p.KEYWORD_ONLY and n not in built
    ]
    if missing:
        raise ConfigError(f"{key}.{missing[0]}", f"{target.__name__} needs a value")
    for name, value in built.items():  # "no" is text to Hydra, and text counts as true
        if name in accepted and isinstance(accepted[name].default, bool) and not isinstance(value, bool):
            problem = f"{value!r} is neither true nor false"
            raise ConfigError(f"{key}.{name}", problem, "write true or false")
    try:
        return target(**built)
    except ConfigError as error:
        if error.key not in built:  # it names its whole key already
            raise
        raise ConfigError(f"{key}.{error.key}", error.problem, error.remedy) from error
    except (TypeError, ValueError) as error:
        raise ConfigError(key, str(error)) from error


def _takes_any(accepted: Mapping[str, inspect.Parameter]) -> bool:
    """Whether settings of any name are taken, as by what hands them on, and refuses them itself."""
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values())


def _build_value(value: Any, key: str) -> Any:
    if isinstance(value, dict) and "_target_" in value:
        return build(value, key)
    return value


def _target(config: Construction, key: str) -> tuple[Any, dict[str, Any]]:
    arguments = dict(config)
    path = str(arguments.pop("_target_", ""))
    if not (path.startswith("ehrbench.") or plugins.brings(path)):
        remedy = "only ehrbench's own classes are built, and those of packages in plugins=[...]"
        raise ConfigError(f"{key}._target_", f"{path!r} is not under ehrbench.", remedy)
    return _import(path, f"{key}._target_"), arguments


@functools.cache
def _import(path: str, key: str) -> Any:
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(key, f"cannot import {path} ({error})") from error


def build_task(config: Construction) -> Task:
    task = build(config, "task.build")
    assert isinstance(task, Task)
    return task


def build_publisher(config: Construction, task: Task) -> Publisher:
    publisher = build(config, "task.publisher", task=task)
    assert isinstance(publisher, Publisher)
    return publisher


class ModelBuilder:
    """Makes models of one configuration; a trial's parameters override its settings.

    A parameter ``featurizer.x`` goes to the featurizer, which is the task's for the model's view.
    """

    def __init__(
        self, name: str, block: ModelBlock, views: Mapping[str, Construction], target: Target
    ) -> None:
        self.name, self._target, self._config = name, target, block.build
        view = block.view
        if view not in views:
            raise ConfigError(
                f"model.{name}.view",
                f"the task has no view {view!r}, only {', '.join(views)}",
                "name models that eat one of these (see conf/model): models=[...]",
            )
        self._view, self._featurizer = view, views[view]

    def __call__(self, params: dict[str, Any]) -> Model:
        own = {k: v for k, v in params.items() if not k.startswith("featurizer.")}
        its = {k.removeprefix("featurizer."): v for k, v in params.items() if k.startswith("featurizer.")}
        featurizer = build(self._featurizer | its, f"task.views.{self._view}")
        assert isinstance(featurizer, Featurizer)
        key = f"model.{self.name}.build"
        model = build(self._config | own, key, target=self._target, featurizer=featurizer)
        assert isinstance(model, Model)
        return model

    def takes(self, name: str, value: Any) -> bool:
        """Whether there is a setting that a search space calls ``name``.

        value: one it may have; ConfigError where whoever takes settings of any name refuses it.
        """
        of_featurizer = name.startswith("featurizer.")
        target, _ = _target(self._featurizer if of_featurizer else self._config, f"model.{self.name}")
        accepted = inspect.signature(target).parameters
        if name.removeprefix("featurizer.") not in accepted and _takes_any(accepted):
            self({name: value})
            return True
        return name.removeprefix("featurizer.") in accepted

    def defaults(self) -> dict[str, Any]:
        return self._config | {f"featurizer.{name}": value for name, value in self._featurizer.items()}

    def settings(self) -> dict[str, Any]:
        shaping = {k: v for k, v in self._config.items() if k not in NOT_SHAPING}
        if "together" in shaping:  # what it comes to on this machine: a figure differs by it, if by rounding
            shaping["together"] = self({}).trains_together
        named = [_target(block, self.name)[0].__module__ for block in (self._config, self._featurizer)]
        return {"build": shaping, "featurizer": self._featurizer, "code": sources(*named)}
