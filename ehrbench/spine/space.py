"""Search space: what a model's YAML says under ``space``, checked once and asked of Optuna.

    learning_rate: {type: float, low: 1e-4, high: 1e-2, log: true}
    n_layers: {type: int, low: 1, high: 4}
    pooling: {type: categorical, choices: [last, attention]}
    attention_heads: {type: categorical, choices: [2, 4], when: {pooling: attention}}

A parameter with ``when`` is asked only if every named parameter, standing before it, has the value (or one
of the list of values) given.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna

from ehrbench.core.errors import ConfigError

Value = str | int | float | bool | None


@dataclass(frozen=True)
class Parameter:
    """One dimension of a space."""

    name: str
    type: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    choices: tuple[Value, ...] = ()
    when: tuple[tuple[str, tuple[Value, ...]], ...] = ()

    def applies(self, chosen: Mapping[str, Value]) -> bool:
        return all(name in chosen and chosen[name] in allowed for name, allowed in self.when)

    @property
    def first(self) -> Value:
        """The first choice, or the lowest value."""
        if self.type == "categorical":
            return self.choices[0]
        assert self.low is not None
        return int(self.low) if self.type == "int" else self.low

    def nearest(self, value: Any) -> Any:
        """``value``, or the lowest one in place of the 0 of a logarithmic scale."""
        is_zero = isinstance(value, int | float) and not isinstance(value, bool) and value == 0
        return self.first if self.log and is_zero else value

    def holds(self, value: Any) -> bool:
        """Whether a search could suggest ``value``."""
        if self.type == "categorical":
            return any(value == choice and type(value) is type(choice) for choice in self.choices)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        assert self.low is not None
        assert self.high is not None
        steps = (value - self.low) / (self.step or 1)
        on_step = self.step is None or abs(steps - round(steps)) < 1e-8  # Optuna's tolerance
        return self.low <= value <= self.high and on_step and (self.type == "float" or value == int(value))

    def suggest(self, trial: optuna.trial.BaseTrial) -> Value:
        if self.type == "categorical":
            return trial.suggest_categorical(self.name, self.choices)
        assert self.low is not None
        assert self.high is not None
        if self.type == "int":
            step = 1 if self.step is None else int(self.step)
            return trial.suggest_int(self.name, int(self.low), int(self.high), log=self.log, step=step)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log, step=self.step)


@dataclass(frozen=True)
class Space:
    """All dimensions of one model, in order."""

    parameters: tuple[Parameter, ...]

    def within(self, values: Mapping[str, Any]) -> dict[str, Value]:
        """Those of ``values`` that this space could suggest, by name.

        0 has no place on a logarithmic scale (no penalty, no smoothing): there the lowest stands for it.
        """
        own = {p.name: p.nearest(values[p.name]) for p in self.parameters if p.name in values}
        return {p.name: own[p.name] for p in self.parameters if p.name in own and p.holds(own[p.name])}

    def suggest(self, trial: optuna.trial.BaseTrial) -> dict[str, Value]:
        """Ask the trial for every parameter that applies."""
        chosen: dict[str, Value] = {}
        for parameter in self.parameters:
            if parameter.applies(chosen):
                chosen[parameter.name] = parameter.suggest(trial)
        return chosen


def read_space(raw: Mapping[str, Mapping[str, Any]], key: str) -> Space:
    """Check the ``space`` of a configuration; ConfigError names the key that is wrong."""
    parameters: list[Parameter] = []
    for name, spec in _group(raw, key).items():
        if not isinstance(spec, Mapping):
            raise ConfigError(
                f"{key}.{name}", f"{spec!r} is not a parameter", "give type, low and high or choices"
            )
        parameters.append(_parameter(str(name), dict(spec), f"{key}.{name}", parameters))
    return Space(tuple(parameters))


def _parameter(name: str, spec: dict[str, Any], key: str, earlier: Sequence[Parameter]) -> Parameter:
    kind = spec.pop("type", None)
    when = _conditions(_group(spec.pop("when", None) or {}, f"{key}.when"), f"{key}.when", earlier)
    if kind == "categorical":
        choices = _choices(spec.pop("choices", ()), f"{key}.choices")
        if not choices or len(set(map(repr, choices))) != len(choices):
            raise ConfigError(f"{key}.choices", f"{list(choices)} is empty or repeats a value")
        parameter = Parameter(name, kind, choices=choices, when=when)
    elif kind in ("float", "int"):
        low, high = (_number(spec.pop(bound, None), f"{key}.{bound}", kind) for bound in ("low", "high"))
        log, step = spec.pop("log", None), spec.pop("step", None)
        log = False if log is None else log
        if not isinstance(log, bool):  # "no" is text to Hydra, and text counts as true
            raise ConfigError(f"{key}.log", f"{log!r} is neither true nor false", "write true or false")
        if low > high:
            raise ConfigError(f"{key}.low", f"{low} is above high = {high}")
        if log and low <= 0:
            raise ConfigError(f"{key}.low", f"{low} has no logarithm", "choose low > 0 or log: false")
        if log and step is not None:
            raise ConfigError(f"{key}.step", "a logarithmic parameter has no step")
        if step is not None and _number(step, f"{key}.step", kind) <= 0:
            raise ConfigError(f"{key}.step", f"{step} is not above 0")
        parameter = Parameter(name, kind, low, high, log, step, when=when)
    else:
        raise ConfigError(f"{key}.type", f"{kind!r} is none of float, int, categorical")
    if spec:
        raise ConfigError(f"{key}.{next(iter(spec))}", f"unknown key for a {kind} parameter")
    return parameter


def _group(raw: Any, key: str) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise ConfigError(key, f"{raw!r} is no group of names", f"write {key}: {{name: …}}")
    return raw


def _choices(raw: Any, key: str) -> tuple[Value, ...]:
    if not isinstance(raw, list | tuple):
        raise ConfigError(key, f"{raw!r} is not a list", f"write {key}=[{raw}]")
    for choice in raw:
        if not isinstance(choice, Value):
            raise ConfigError(key, f"{choice!r} is no single value", "give texts, numbers, true or false")
    return tuple(raw)


def _conditions(
    raw: Mapping[str, Any], key: str, earlier: Sequence[Parameter]
) -> tuple[tuple[str, tuple[Value, ...]], ...]:
    conditions, by_name = [], {parameter.name: parameter for parameter in earlier}
    for name, allowed in raw.items():
        if name not in by_name:
            raise ConfigError(f"{key}.{name}", "names no parameter that stands before this one")
        values, asked = allowed if isinstance(allowed, list | tuple) else [allowed], by_name[name]
        for value in values:
            if value not in asked.choices and not asked.holds(value):
                raise ConfigError(f"{key}.{name}", f"{value!r} is never chosen for {name}")
        conditions.append((str(name), tuple(values)))
    return tuple(conditions)


def _number(value: Any, key: str, kind: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise ConfigError(
            key, f"{value!r} is not a number", "in YAML write 1.0e-4, not 1e-4" * isinstance(value, str)
        )
    if kind == "int" and value != int(value):
        raise ConfigError(key, f"{value} is not whole, as an int must be")
    return value
