"""Classifiers of other libraries: found by import path, made, and tried out before anything depends on them.

Only libraries of an allow-list are imported, and lazily: they come with the extra ``estimators``. Each keeps
its own names of settings. What runs where and what is printed is set here: seed, threads, logs.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ehrbench.core.errors import ConfigError
from ehrbench.core.types import FloatArray, IntArray
from ehrbench.models.classifier_graph import NoExport, convert
from ehrbench.models.settings import check_range

#: Names that libraries give the seed, and the threads.
SEED, THREADS = ("random_state",), ("n_jobs", "thread_count")
#: Settings that keep a library quiet and away from the disk.
QUIET: Mapping[str, Mapping[str, Any]] = {
    "xgboost": {"verbosity": 0},
    "catboost": {"logging_level": "Silent", "allow_writing_files": False},
    "lightgbm": {"verbose": -1, "deterministic": True, "force_row_wise": True},
}
#: Settings that a library takes whatever their value, and then makes nothing of: 0 and more are meant.
UNCHECKED: Mapping[str, Sequence[str]] = {"catboost": ("learning_rate", "random_strength")}
#: Names that libraries give the number of trees or passes, the first of which is a fit's length.
LENGTHS = ("n_estimators", "iterations", "max_iter")
#: Rows and columns of a try-out, more than any sensible number of neighbours; and the length of its fit.
TRIED_ROWS, TRIED_COLUMNS, TRIED_LENGTH = 600, 4, 2
#: Share of missing cells, where it is to take them.
HOLES = 0.1


def classifier(path: str, libraries: Sequence[str]) -> type:
    """The class at an import path under one of the libraries. Raises ConfigError for ``estimator``."""
    library = str(path).partition(".")[0]
    if library not in libraries:
        problem = f"{path!r} is under none of {', '.join(libraries) or 'no library'}"
        remedy = "name one such as sklearn.ensemble.ExtraTreesClassifier, or add its library to libraries"
        raise ConfigError("estimator", problem, remedy)
    if find_spec(library) is None:
        raise ConfigError("estimator", f"{library} is not installed", "pip install 'ehrbench[estimators]'")
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError("estimator", f"cannot import {path} ({error})", "check its name") from error
    if not (isinstance(found, type) and hasattr(found, "fit") and hasattr(found, "predict_proba")):
        raise ConfigError("estimator", f"{path} gives no probabilities", "name one with predict_proba")
    return found


def known_settings(kind: type) -> list[str]:
    """Names of the settings that people may give a classifier, in its own order."""
    fixed = {*SEED, *THREADS, *QUIET.get(library_of(kind), {})}
    return [name for name in _arguments(kind) if name not in fixed]


def library_of(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def made(kind: type, settings: Mapping[str, Any], seed: int, threads: int) -> Any:
    """An unfitted classifier."""
    names, own = _arguments(kind), dict(settings)
    own |= {name: seed for name in SEED if name in names}
    own |= {name: threads for name in THREADS if name in names}
    return kind(**own, **QUIET.get(library_of(kind), {}))


def _arguments(kind: type) -> list[str]:
    """Names that its constructor takes, and those of the classes it comes of, in this order."""
    makers = [vars(each)["__init__"] for each in kind.__mro__ if "__init__" in vars(each)]
    taken = [p for maker in makers for p in list(inspect.signature(maker).parameters.values())[1:]]
    return list(dict.fromkeys(p.name for p in taken if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)))


@contextmanager
def calm(threads: int) -> Iterator[None]:
    """At most so many threads, and no warnings: of passes that end early, of what a next version will do."""
    with threadpool_limits(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def try_out(kind: type, settings: Mapping[str, Any], n_classes: int, *, holes: bool) -> None:
    """Fit and export a small one of these settings, so that what cannot be shows before a search starts.

    holes: whether it is to take missing values. Raises ConfigError naming the setting that the library
    refuses, ``fill`` where it takes none, or ``estimator`` where its export is not known or does not give its
    probabilities.
    """
    unknown = [name for name in settings if name not in known_settings(kind)]
    if unknown:
        remedy = f"it takes {', '.join(known_settings(kind))}"
        raise ConfigError(unknown[0], f"unknown setting of {kind.__name__}", remedy)
    for name in UNCHECKED.get(library_of(kind), ()):
        check_range(name, settings.get(name, 0.0), 0.0, 1e9)
    _try_out(kind, json.dumps(settings, sort_keys=True), n_classes, holes)


@functools.lru_cache(maxsize=4096)
def _try_out(kind: type, text: str, n_classes: int, holes: bool) -> None:
    """text: the settings as JSON; models of a trial's folds are built of the same, one after another."""
    settings, (x, y) = json.loads(text), _sample(n_classes)
    rows = np.where(np.random.default_rng(1).random(x.shape) < HOLES, np.float32(np.nan), x) if holes else x
    fitted, refusal = _fitted(kind, settings, rows, y)
    if fitted is None:
        if holes and _fitted(kind, settings, x, y)[0] is not None:
            raise ConfigError("fill", f"{kind.__name__} takes no missing values ({refusal})", "fill: median")
        alone = ((name, _fitted(kind, {name: value}, x, y)[1]) for name, value in settings.items())
        key, why = next(((name, said) for name, said in alone if said), ("estimator", refusal))
        problem = f"{kind.__name__} refuses {settings.get(key, 'its settings')!r} ({why})"
        raise ConfigError(key, problem, "change it")
    try:
        with calm(1):
            convert(fitted, rows)
    except NoExport as error:
        problem = f"{kind.__name__} of these settings cannot be exported ({error})"
        remedy = "fill: median, or another" if holes else "choose another"
        raise ConfigError("estimator", problem, remedy) from error


def _fitted(kind: type, settings: Mapping[str, Any], x: FloatArray, y: IntArray) -> tuple[Any, str]:
    """A small one, fitted; or None and what the library says against it, in one line."""
    try:
        with calm(1):
            fitted = _small(kind, settings).fit(x, y)
            fitted.predict_proba(x)
    except Exception as error:  # each library has types of its own
        return None, (str(error) or type(error).__name__).strip().splitlines()[0][:200]
    return fitted, ""


def _small(kind: type, settings: Mapping[str, Any]) -> Any:
    short = {
        name: TRIED_LENGTH
        for name in LENGTHS
        if type(settings.get(name)) is int and settings[name] > TRIED_LENGTH
    }
    if library_of(kind) == "catboost" and not {*LENGTHS, "num_trees", "num_boost_round"} & set(settings):
        short["iterations"] = TRIED_LENGTH  # a thousand by default
    return made(kind, {**settings, **short}, 0, 1)


@functools.cache
def _sample(n_classes: int) -> tuple[FloatArray, IntArray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(TRIED_ROWS, TRIED_COLUMNS)).astype(np.float32)
    y = np.digitize(x[:, 0] + 0.3 * rng.normal(size=len(x)), np.linspace(-1, 1, n_classes + 1)[1:-1])
    return x, y
