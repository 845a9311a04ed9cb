"""Hyperparameter importance: functional ANOVA over a model's finished trials (Hutter et al. 2014).

The trials of all studies (one for each outer fold, and that over all records) are taken together, each
study's values less their median, since folds differ in difficulty but not in what the parameters do; optuna's
evaluator does the rest on a study in memory. Values far from the median are clipped to three median
deviations: one diverged trial would otherwise be all that is explained. A parameter asked under a condition
only is left out and named.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

FEWEST_TRIALS = 10


@dataclass(frozen=True)
class Importance:
    """share: parameter -> its share of the variance explained; ``why`` when there is none."""

    share: Mapping[str, float] = field(default_factory=dict)
    n_trials: int = 0
    conditional: tuple[str, ...] = ()
    why: str | None = None


@dataclass(frozen=True)
class Axis:
    """One hyperparameter as it was searched. ``low``/``high`` in its own units; categorical: ``choices``."""

    name: str
    log: bool = False
    low: float = 0.0
    high: float = 1.0
    choices: tuple[str, ...] = ()

    def position(self, value: Any) -> float:
        """Where a value stands, in [0, 1]."""
        if self.choices:
            return (self.choices.index(str(value)) + 0.5) / len(self.choices)
        low, high, at = (np.log(v) if self.log else v for v in (self.low, self.high, float(value)))
        return float((at - low) / (high - low)) if high > low else 0.5


def axes(trials: pd.DataFrame, space: Mapping[str, Any]) -> list[Axis]:
    """One for each parameter that took two values or more, in the order of the space."""
    taken: dict[str, list[Any]] = {}
    for params in trials["params"]:
        for name, value in params.items():
            taken.setdefault(name, []).append(value)
    ordered = [n for n in space if n in taken] + [n for n in taken if n not in space]
    found = []
    for name in ordered:
        values, spec = taken[name], space.get(name) or {}
        if len({str(v) for v in values}) < 2:
            continue
        if any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
            named = [str(c) for c in spec.get("choices", ())]
            extra = sorted({str(v) for v in values} - set(named))
            found.append(Axis(name, choices=tuple([c for c in named if c in map(str, values)] + extra)))
        else:
            low = min(float(v) for v in [*values, spec.get("low", values[0])])
            high = max(float(v) for v in [*values, spec.get("high", values[0])])
            log = bool(spec.get("log", low > 0 and high / low > 100))
            found.append(Axis(name, log and low > 0, low, high))
    return found


def importance(trials: pd.DataFrame, found: list[Axis], *, seed: int) -> Importance:
    """Of one model's trials (all studies): those complete, with a value."""
    complete = trials[(trials["state"] == "complete") & trials["value"].notna()]
    everywhere = [a for a in found if all(a.name in params for params in complete["params"])]
    conditional = tuple(a.name for a in found if a not in everywhere)
    n = len(complete)
    if not found:
        return Importance(n_trials=n, why="no hyperparameter took two values")
    if n < FEWEST_TRIALS:
        return Importance(n_trials=n, why=f"{n} finished trials, fewer than {FEWEST_TRIALS}: too few to tell")
    if not everywhere:
        return Importance(n_trials=n, why="every hyperparameter is asked under a condition only")
    values = centred(complete)
    if np.ptp(values) == 0:
        return Importance(n_trials=n, why="all trials have the same value")
    study = _study(complete, values, everywhere)
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=24, max_depth=16, seed=seed)
    share = optuna.importance.get_param_importances(
        study, evaluator=evaluator, params=[a.name for a in everywhere]
    )
    return Importance(dict(share), n, conditional)


def centred(trials: pd.DataFrame) -> np.ndarray:
    """(n,) values less their outer fold's median, clipped to three median absolute deviations."""
    values = trials["value"].to_numpy(dtype=float).copy()
    for fold in trials["outer_fold"].unique():
        inside = (trials["outer_fold"] == fold).to_numpy()
        values[inside] -= np.median(values[inside])
    spread = 1.4826 * float(np.median(np.abs(values)))
    return np.clip(values, -3 * spread, 3 * spread) if spread > 0 else values


def _study(trials: pd.DataFrame, values: np.ndarray, found: list[Axis]) -> optuna.Study:
    loud = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.WARNING)
    try:
        study = optuna.create_study(direction="maximize")
        distributions: dict[str, BaseDistribution] = {
            a.name: _distribution(a, [p[a.name] for p in trials["params"]]) for a in found
        }
        for params, value in zip(trials["params"], values, strict=True):
            chosen = {a.name: str(params[a.name]) if a.choices else params[a.name] for a in found}
            trial = optuna.trial.create_trial(params=chosen, distributions=distributions, value=float(value))
            study.add_trial(trial)
        return study
    finally:
        optuna.logging.set_verbosity(loud)


def _distribution(axis: Axis, values: list[Any]) -> BaseDistribution:
    if axis.choices:
        return CategoricalDistribution(axis.choices)
    if all(isinstance(v, int) for v in values):
        return IntDistribution(int(axis.low), int(axis.high), log=axis.log)
    return FloatDistribution(axis.low, axis.high, log=axis.log)
