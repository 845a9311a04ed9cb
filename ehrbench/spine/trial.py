"""One trial: one set of hyperparameters on every inner fold of a study, resumed where the ledger stops.

The order of folds, the seeds and the steps reported depend on nothing but the study and the ticket's number,
so a trial that a second worker finishes gives the bits that the first would have given.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ehrbench.core.digest import derive_seed
from ehrbench.core.errors import FitError, UndefinedMetric
from ehrbench.core.ledger import Fit, Lease, Ledger, StudyKey, Ticket, TicketRow
from ehrbench.core.metric import Metric
from ehrbench.core.model import Builder, Model
from ehrbench.core.progress import Step
from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray
from ehrbench.spine.dataset import Dataset
from ehrbench.spine.folds import OuterFold
from ehrbench.spine.race import Race
from ehrbench.spine.thresholds import ThresholdRule


class Pruned(Exception):
    """The race is lost; the trial stops here."""


class Lost(Protocol):
    """Whether a trial, by the fits in its ledger, has lost the race."""

    def __call__(self) -> bool: ...


@dataclass(frozen=True)
class TrialSetting:
    """What all trials of one study share."""

    key: StudyKey
    dataset: Dataset
    fold: OuterFold
    builder: Builder
    target: Target
    metric: Metric
    threshold: ThresholdRule
    race: Race | None
    ledger: Ledger
    seed: int

    def fit_seed(self, ticket: int, inner: int) -> int:
        """Seed of one Fit; not of its study's name, so that equal searches under two names agree."""
        return derive_seed(self.seed, "fit", self.key.model, self.fold.name, ticket, inner)


def run_trial(
    setting: TrialSetting,
    ticket: Ticket,
    done: Mapping[int, Fit],
    lost: Lost | None,
    lease: Lease,
    bar: Step,
) -> float:
    """Mean of the metric over the inner folds, of which ``done`` are finished.

    lost: asked between folds whether the race is. Raises Pruned, FitError, LeaseLost.
    """
    scores = []
    for inner in range(len(setting.fold.inner)):
        fit = done.get(inner) or fit_fold(setting, ticket, inner, lease, bar)
        scores.append(fit.score)
        bar.advance()
        last = inner + 1 == len(setting.fold.inner)
        if lost is not None and not last and inner + 1 not in done and lost():
            raise Pruned
    return float(np.mean(scores))


def fit_fold(setting: TrialSetting, ticket: Ticket, inner: int, lease: Lease, bar: Step) -> Fit:
    """Train on one inner fold, predict its validation part, and enter the Fit into the ledger."""
    fold = setting.fold.inner[inner]
    train = setting.dataset.open(setting.fold, "fit", fold.train)
    valid = setting.dataset.open(setting.fold, "stop", fold.valid)
    model = setting.builder(dict(ticket.params or {}))
    seed = setting.fit_seed(ticket.number, inner)

    def watch(step: int, total: int, values: dict[str, float]) -> None:
        lease.check()
        shown = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
        bar.note(f"fold {inner + 1}/{len(setting.fold.inner)}  {step}/{total}  {shown}")

    began = time.monotonic()
    result = model.fit(train, valid, seed=seed, watch=watch)
    predictions = check_predictions(
        model.predict(valid.without_labels()), valid.labels.shape, setting.builder.name
    )
    try:
        score = fold_score(setting, valid, predictions, inner)
    except UndefinedMetric as error:
        raise FitError(f"inner fold {inner}: {error}") from error
    steps = {} if setting.race is None else _steps(setting, setting.race, predictions, inner)
    lease.check()
    setting.dataset.persist(setting.ledger, setting.key.study_name)
    fit = Fit(
        fold=inner,
        seed=seed,
        score=score,
        best_step=result.best_step,
        duration_s=time.monotonic() - began,
        predictions=setting.ledger.artifacts.put(pack_array(predictions)),
        model=save_model(setting.ledger, model),
        fold_digest=setting.fold.digest,
        curve=result.curve,
        steps=steps,
    )
    setting.ledger.record_fit(ticket, fit)
    return fit


def _steps(setting: TrialSetting, race: Race, predictions: FloatArray, inner: int) -> dict[int, float]:
    valid = setting.dataset.open(setting.fold, "prune", setting.fold.inner[inner].valid)
    return race.steps(valid, predictions, inner, setting.seed)


def fold_score(setting: TrialSetting, valid: Records, predictions: FloatArray, inner: int) -> float:
    """The metric on one inner fold.

    A metric of decisions needs a threshold: each half of the fold's groups is judged at the threshold that
    the rule chooses on the other half, so that no unit helps to choose its own.
    """
    metric, target = setting.metric, setting.target
    if not metric.needs_threshold:
        return metric(valid.labels, predictions, target=target)
    _, group = np.unique(valid.groups, return_inverse=True)
    draw = np.random.default_rng(derive_seed(setting.seed, "halves", inner)).permutation(int(group.max()) + 1)
    first = np.repeat(draw[group.ravel()] % 2 == 0, valid.n_units)
    scores = []
    for judged in (first, ~first):
        threshold = setting.threshold.choose(valid.labels[~judged], predictions[~judged], target)
        scores.append(metric(valid.labels[judged], predictions[judged], target=target, threshold=threshold))
    return float(np.mean(scores))


def check_predictions(p: FloatArray, shape: tuple[int, ...], model: str) -> FloatArray:
    """Probabilities (U, C), or FitError saying what is wrong with them."""
    p = np.asarray(p, dtype=np.float64)
    if p.shape != shape:
        raise FitError(f"{model} gave predictions of shape {p.shape} for units {shape}")
    if not np.isfinite(p).all() or (p < 0).any() or (p > 1).any():
        raise FitError(f"{model} gave predictions that are no probabilities (NaN or outside 0 to 1)")
    return p


def save_model(ledger: Ledger, model: Model) -> str:
    """Keep a fitted model as an artifact; its digest."""
    with tempfile.TemporaryDirectory(prefix="ehrbench-") as folder:
        model.save(Path(folder))
        return ledger.artifacts.put_folder(Path(folder))


def restore_model(ledger: Ledger, digest: str, builder: Builder, params: Mapping[str, Any]) -> Model:
    """The model that ``save_model`` kept."""
    model = builder(dict(params))
    with tempfile.TemporaryDirectory(prefix="ehrbench-") as folder:
        ledger.artifacts.get_folder(digest, Path(folder))
        model.restore(Path(folder))
    return model


def pack_array(array: np.ndarray) -> bytes:
    """One array as .npy bytes."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def unpack_array(content: bytes) -> np.ndarray:
    return np.asarray(np.load(io.BytesIO(content), allow_pickle=False))


def out_of_fold(setting: TrialSetting, row: TicketRow) -> tuple[FloatArray, np.ndarray]:
    """Probabilities (U, C) and inner-fold numbers (U,) of out-of-fold units, in inner-fold order."""
    parts, folds = [], []
    for fit in sorted(row.fits, key=lambda f: f.fold):
        p = unpack_array(setting.ledger.artifacts.get(fit.predictions))
        parts.append(p)
        folds.append(np.full(len(p), fit.fold))
    return np.concatenate(parts), np.concatenate(folds)
