"""Model: fits on records, predicts probabilities by unit, saves and exports itself.

A model is one file under ``ehrbench/models`` and one YAML under ``conf/model``: ``view`` (which of the task's
featurizers it eats), ``n_trials``, ``build`` (``_target_`` and settings) and ``space``. Its featurizer lives
inside it, so it cannot see a record it was not given. Nothing in the spine knows which model it holds.

Contract
--------
- ``fit`` may use ``valid`` for early stopping and nothing else; it leaves the best state restored.
- ``fit`` is a function of (settings, train, valid, seed): the same bits again on one CPU model, thread count
  and set of package versions.
- ``fit_together`` gives what ``fit`` gives each, up to rounding where ``trains_together``, else to the bit.
- ``predict`` sees no labels, keeps record order, and gives finite probabilities.
- ``save``/``restore`` are quick and exact (``restore`` on an unfitted model of the same settings);
  ``export`` writes the form that a bundle runs without this package's training code.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ehrbench.core.errors import FitError
from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray


class Watch(Protocol):
    """Told of each training step (an epoch, a block of trees); may raise to stop the fit."""

    def __call__(self, step: int, total: int, values: dict[str, float]) -> None: ...


def silent(step: int, total: int, values: dict[str, float]) -> None:
    """A Watch that does nothing."""


@dataclass(frozen=True)
class FitResult:
    """What a fit says of itself.

    best_step: epochs or trees of the restored state (from 1); what ``refit=full`` takes the median of.
    curve: (step, values) as the watch was told, for the ledger.
    """

    best_step: int
    curve: tuple[tuple[int, dict[str, float]], ...] = field(default=())


@dataclass(frozen=True, eq=False)
class PlannedFit:
    """An unfitted model and what ``fit`` is to be given."""

    model: Model
    train: Records
    valid: Records | None
    seed: int
    steps: int | None = None
    watch: Watch = silent

    def run(self) -> FitResult:
        return self.model.fit(self.train, self.valid, seed=self.seed, steps=self.steps, watch=self.watch)


class Model(ABC):
    """Built as ``Model(target=..., **settings)``; cheap to build, holds no data."""

    target: Target

    @abstractmethod
    def fit(
        self,
        train: Records,
        valid: Records | None,
        *,
        seed: int,
        steps: int | None = None,
        watch: Watch = silent,
    ) -> FitResult:
        """Fit on ``train``; stop early on ``valid``, or run exactly ``steps`` where there is no ``valid``.

        Raises FitError for a NaN loss or labels nothing can be learned from, naming the cause.
        """

    @property
    def trains_together(self) -> bool:
        """Whether several fits of such models (folds of a trial) are trained as one on this machine."""
        return False

    @classmethod
    def fit_together(cls, fits: Sequence[PlannedFit]) -> Iterator[tuple[int, FitResult | FitError]]:
        """Fit all, models of this class; each one's place and result as it ends, a fault its alone.

        Whoever asks for no more ends what still trains. Here one after another, each when it is asked for.
        """
        for at, fit in enumerate(fits):
            try:
                yield at, fit.run()
            except FitError as error:
                yield at, error

    @abstractmethod
    def predict(self, records: Records) -> FloatArray:
        """(U, C) float64 probabilities of the records' units, in order."""

    @abstractmethod
    def save(self, directory: Path) -> None:
        """Write the fitted state into an existing empty directory; no pickle."""

    @abstractmethod
    def restore(self, directory: Path) -> None:
        """Take the state that ``save`` of an equally built model wrote."""

    @abstractmethod
    def export(self, directory: Path) -> Member:
        """Write the run-time form into an existing empty directory and describe it."""


@dataclass(frozen=True)
class Member:
    """One exported model, as ``member.json`` of a bundle describes it.

    runner: ``onnx`` (``model.onnx``: inputs named as the view's arrays, one output ``scores``, (R, C), or a
            step, (R, L, C); the view's gathering makes units of them),
        ``lightgbm`` (``model.txt``: LightGBM's own text, raw scores (U,) or (U, C); for a multi-label target
        ``model.0.txt`` … one booster a class, raw scores (U,) each a column), or ``linear`` (``model.npz``:
        ``coefficient`` (F, C) and ``intercept`` (C,), scores = values @ coefficient + intercept), or
        ``bag_linear`` (the same of a ``Bag``'s sparse rows).
    featurizer: import path of the class under ``ehrbench.features``, its settings; state in
        ``featurizer.npz``.
    opsets: of a graph, domain -> version of ONNX's operators that it is written in; {} of the others.
    Scores become probabilities by ``Target.probabilities``.
    """

    runner: str
    featurizer: str
    settings: dict[str, Any]
    opsets: dict[str, int] = field(default_factory=dict)


class Builder(Protocol):
    """Makes an unfitted model from the parameters of one trial; knows the model's other settings."""

    name: str

    def __call__(self, params: dict[str, Any]) -> Model: ...

    def settings(self) -> dict[str, Any]:
        """Everything that shapes the model besides a trial's parameters, for the study digest."""
        ...

    def defaults(self) -> dict[str, Any]:
        """Settings by the names a search space gives them: what a model is built of without a search."""
        ...


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write named arrays as .npz without pickle."""
    for name, array in arrays.items():
        if array.dtype == object:
            raise TypeError(f"array {name} holds Python objects; only plain arrays are saved")
    np.savez(path, **arrays)  # type: ignore[arg-type]


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read what ``save_arrays`` wrote."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
