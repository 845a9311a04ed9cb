"""One trial: one set of hyperparameters on every inner fold of a study, resumed where the ledger stops.

The order in which folds are judged, the seeds and the steps depend on nothing but the study and the ticket's
number, so a trial that other workers finish, or help with, gives the bits that the first would have given.
"""

from __future__ import annotations

import errno
import io
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ehrbench.core.digest import derive_seed
from ehrbench.core.errors import EhrbenchError, FitError, StorageError, UndefinedMetric
from ehrbench.core.ledger import Claim, Fit, FitLease, Lease, Ledger, StudyKey, Ticket, TicketRow
from ehrbench.core.metric import Metric
from ehrbench.core.model import Builder, FitResult, Model, PlannedFit, Watch
from ehrbench.core.progress import Step
from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.types import BoolArray, FloatArray
from ehrbench.spine.dataset import Dataset
from ehrbench.spine.folds import OuterFold, halves
from ehrbench.spine.latency import AnswerLimit
from ehrbench.spine.race import Race
from ehrbench.spine.thresholds import ThresholdRule

#: How often a worker looks again while others train what it waits for, in seconds.
POLL_S = 1.0


class Pruned(Exception):
    """The race is lost; the trial stops here, by its first ``judged`` folds."""

    def __init__(self, judged: int) -> None:
        super().__init__(judged)
        self.judged = judged


class ModelFault(Exception):
    """What a model, or the scoring of its predictions, raised: its trial's, unless another try mends it."""


#: Faults of a disk that a model may stumble over, and that are no trial's.
_OF_THE_DISK = {
    errno.ENOSPC: "disk full",
    errno.EDQUOT: "disk quota used up",
    errno.EROFS: "disk read-only",
    errno.EIO: "disk damaged",
}


@contextmanager
def blaming_the_model() -> Iterator[None]:
    """Around a model's code: whatever it raises is a ModelFault, so that nothing else is taken for one.

    What ends a search, or a fit, by its own name (EhrbenchError) goes on as it is, and a fault of the disk
    becomes a StorageError.
    """
    try:
        yield
    except EhrbenchError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
            raise _of_the_disk(error) from error
        raise ModelFault(f"{type(error).__name__}: {error}") from error


@contextmanager
def _scratch() -> Iterator[Path]:
    """A temporary folder; StorageError where there can be none, or no file in it."""
    try:
        with tempfile.TemporaryDirectory(prefix="ehrbench-") as folder:
            yield Path(folder)
    except OSError as error:
        raise _of_the_disk(error) from error


def _of_the_disk(error: OSError) -> StorageError:
    what = _OF_THE_DISK.get(error.errno or 0) or f"cannot be used ({error.strerror or error})"
    return StorageError(f"{error.filename or 'disk'}: {what} — free some space, or mend it, and run again")


#: Inner folds as they end: each one's Fit, or what spoilt it.
Ended = Generator[tuple[int, Fit | FitError], None, None]


class Lost(Protocol):
    """Whether a trial, by the fits of its first folds, has lost the race."""

    def __call__(self, fits: Sequence[Fit]) -> bool: ...


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
    latency: AnswerLimit | None = None

    def fit_seed(self, ticket: int, inner: int) -> int:
        """Seed of one Fit; not of its study's name, so that equal searches under two names agree."""
        return derive_seed(self.seed, "fit", self.key.model, self.fold.name, ticket, inner)


def run_trial(
    setting: TrialSetting,
    ticket: Ticket,
    row: TicketRow | None,
    lost: Lost | None,
    lease: Lease,
    bar: Step,
) -> float:
    """Mean of the metric over the inner folds.

    row: where the ticket's last holder stopped; None if it had none, and the ticket was started just now.
    Folds are trained one after another, or all that are left as one where the model does so; while helpers
    train the fold that is to be judged next, a later one is trained here.
    lost: asked between folds, in their order, whether the race is. Raises Pruned, FitError, LeaseLost.
    """
    n_folds = len(setting.fold.inner)
    fits, judged = ({}, 0) if row is None else (_by_fold(row), row.judged or 0)
    failed: set[int] = set()
    with blaming_the_model():
        together = setting.builder(dict(ticket.params or {})).trains_together
    training = _nothing()
    try:
        for inner in range(n_folds):
            while inner not in fits:
                ended = next(training, None)
                if ended is not None:
                    fold, found = ended
                    if isinstance(found, Fit):
                        fits[fold] = found
                    elif fold == inner:
                        raise found
                    else:
                        failed.add(fold)  # the race may end before its turn comes
                    continue
                folds: Sequence[int]
                if together:
                    folds = setting.ledger.take_folds(ticket, n_folds, judged=inner)
                elif row is None and inner == 0:  # the ticket was started with this fold
                    folds = (0,)
                else:
                    fold_or_none = setting.ledger.take_fold(ticket, n_folds, judged=inner)
                    folds = () if fold_or_none is None else (fold_or_none,)
                if inner not in folds:  # a helper trains it, or has
                    fits = _by_fold(*setting.ledger.tickets(setting.key, ticket.number, ticket.number))
                    if inner in fits:
                        break
                if folds := [fold for fold in folds if fold == inner or fold not in failed]:
                    training = fit_folds(setting, ticket, folds, lease, bar)
                else:
                    lease.check()
                    time.sleep(POLL_S)
            bar.advance()
            to_judge = judged <= inner < n_folds - 1
            if lost is not None and to_judge and lost([fits[i] for i in range(inner + 1)]):
                raise Pruned(inner + 1)
    finally:
        training.close()
    return float(np.mean([fits[inner].score for inner in range(n_folds)]))


def _nothing() -> Ended:
    yield from ()


def _by_fold(row: TicketRow) -> dict[int, Fit]:
    return {fit.fold: fit for fit in row.fits}


def fit_fold(setting: TrialSetting, claim: FitLease, lease: Lease, bar: Step) -> Fit:
    """Train on the leased inner fold alone, predict its validation part, enter the Fit into the ledger."""
    ((_, found),) = fit_folds(setting, claim, [claim.fold], lease, bar)
    if isinstance(found, FitError):
        raise found
    return found


def fit_folds(setting: TrialSetting, claim: Claim, folds: Sequence[int], lease: Lease, bar: Step) -> Ended:
    """Train on these inner folds; each one's Fit as it has entered the ledger, or what spoilt it.

    A fit's duration is the time since the one before it ended: together they are the time of all.
    """
    n_folds = len(setting.fold.inner)

    def watch_of(inner: int) -> Watch:
        def watch(step: int, total: int, values: dict[str, float]) -> None:
            lease.check()
            shown = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
            bar.note(f"fold {inner + 1}/{n_folds}  {step}/{total}  {shown}")

        return watch

    planned = []
    for inner in folds:
        train = setting.dataset.open(setting.fold, "fit", setting.fold.inner[inner].train)
        valid = setting.dataset.open(setting.fold, "stop", setting.fold.inner[inner].valid)
        with blaming_the_model():
            model = setting.builder(dict(claim.params or {}))
        seed = setting.fit_seed(claim.number, inner)
        planned.append(PlannedFit(model, train, valid, seed, watch=watch_of(inner)))
    began = time.monotonic()
    ended = type(planned[0].model).fit_together(planned)
    while True:
        with blaming_the_model():
            fitted = next(ended, None)
        if fitted is None:
            return
        at, result = fitted
        if isinstance(result, FitError):
            yield folds[at], result
            continue
        try:
            fit = _fit_of(setting, claim.number, folds[at], planned[at], result, lease)
        except FitError as error:
            yield folds[at], error
            continue
        fit = replace(fit, duration_s=time.monotonic() - began)
        setting.ledger.record_fit(claim, fit)
        yield folds[at], fit
        began = time.monotonic()


def _fit_of(
    setting: TrialSetting, ticket: int, inner: int, planned: PlannedFit, result: FitResult, lease: Lease
) -> Fit:
    """A fitted model's Fit, its predictions and its state among the artifacts."""
    valid, model = planned.valid, planned.model
    assert valid is not None
    with blaming_the_model():
        predictions = check_predictions(
            model.predict(valid.without_labels()), valid.labels.shape, setting.builder.name
        )
        judging = setting.dataset.open(setting.fold, "select", setting.fold.inner[inner].valid)
        try:
            score = fold_score(setting, judging, predictions, inner)
        except UndefinedMetric as error:
            raise FitError(f"inner fold {inner}: {error}") from error
        steps = {} if setting.race is None else _steps(setting, setting.race, predictions, inner)
        if setting.latency is not None:
            setting.latency.check(setting.ledger, setting.key, ticket, model, valid, len(setting.fold.inner))
    lease.check()
    setting.dataset.persist(setting.ledger, setting.key.study_name)
    return Fit(
        fold=inner,
        seed=planned.seed,
        score=score,
        best_step=result.best_step,
        duration_s=0.0,
        predictions=setting.ledger.artifacts.put(pack_array(predictions)),
        model=save_model(setting.ledger, model),
        fold_digest=setting.fold.digest,
        curve=result.curve,
        steps=steps,
    )


def _steps(setting: TrialSetting, race: Race, predictions: FloatArray, inner: int) -> dict[int, float]:
    valid = setting.dataset.open(setting.fold, "prune", setting.fold.inner[inner].valid)
    return race.steps(valid, predictions, inner, setting.seed)


def fold_score(setting: TrialSetting, valid: Records, predictions: FloatArray, inner: int) -> float:
    """The metric on one inner fold.

    A metric of decisions needs a threshold: each half of the fold's groups is judged at the threshold that
    the rule chooses on the other half, so that no unit helps to choose its own. Of several classes those
    count that either half has both labels of, the same for every trial.
    """
    metric, target = setting.metric, setting.target
    if not metric.needs_threshold:
        return metric(valid.labels, predictions, target=target, record=valid.unit_record)
    first, second = map(valid.units_of, halves(valid, derive_seed(setting.seed, "halves", inner)))
    if target.n_classes > 1:
        lacking = np.any([_one_sided(valid.labels[half]) for half in (first, second)], axis=0)
        if lacking[target.scored].all():
            raise UndefinedMetric(f"{metric.name}: no class has both labels in either half of the fold")
        target = target.without(np.flatnonzero(lacking))
    scores = []
    for judged, other in ((first, second), (second, first)):
        threshold = setting.threshold.choose(valid.labels[other], predictions[other], target)
        y, p, record = valid.labels[judged], predictions[judged], valid.unit_record[judged]
        scores.append(metric(y, p, target=target, threshold=threshold, record=record))
    return float(np.mean(scores))


def _one_sided(y: FloatArray) -> BoolArray:
    """(C,) whether a class lacks positives, or negatives, among labels (U, C)."""
    return np.asarray(~((y == 1).any(axis=0) & (y == 0).any(axis=0)))


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
    with _scratch() as folder:
        with blaming_the_model():
            model.save(folder)
        return ledger.artifacts.put_folder(folder)


def restore_model(ledger: Ledger, digest: str, builder: Builder, params: Mapping[str, Any]) -> Model:
    """The model that ``save_model`` kept."""
    model = builder(dict(params))
    with _scratch() as folder:
        ledger.artifacts.get_folder(digest, folder)
        model.restore(folder)
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
