"""Fitting: planned fits of networks to results, as one batched network where they can be, else in turn.

A GPU that is too small for all of them trains half at a time, and half of that, down to one; a fit ends and
is handed out when its last seed has ended, whatever the others still do.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from ehrbench.core.errors import FitError
from ehrbench.core.model import FitResult, PlannedFit
from ehrbench.models.session import gpu_memory, quiet, seeded, single_precision, threads
from ehrbench.models.together import Together
from ehrbench.models.trainee import Trainee

if TYPE_CHECKING:
    from ehrbench.models.network import NetworkModel

logger = logging.getLogger(__name__)

Ended = Iterator[tuple[int, FitResult | FitError]]


def fitted(fits: Sequence[PlannedFit]) -> Ended:
    """Place and result of each fit as it ends; the models keep what they have learned."""
    groups = (
        [list(range(len(fits)))] if _model(fits[0]).trains_together else [[at] for at in range(len(fits))]
    )
    told = False
    while groups:
        group = groups.pop(0)
        left = set(group)
        try:
            for at, result in _group([(at, fits[at]) for at in group]):
                left.discard(at)
                yield at, result
        except MemoryError as error:
            if len(left) < 2:
                raise
            if not told:
                logger.warning("%s fits at once do not fit: half of them at a time (%s)", len(left), error)
                told = True
            rest = sorted(left)
            groups = [rest[: len(rest) // 2], rest[len(rest) // 2 :], *groups]


def _group(fits: Sequence[tuple[int, PlannedFit]]) -> Ended:
    """All that trains at once. No state of the process is held while a result is looked at."""
    trainees: dict[int, list[Trainee]] = {}
    for at, fit in fits:
        try:
            with session(_model(fit), fit.seed):
                trainees[at] = _model(fit).trainees(fit)
        except FitError as error:
            yield at, error
    owner = {trainee: at for at, several in trainees.items() for trainee in several}
    model = _model(fits[0][1])
    by_shape: dict[object, list[Trainee]] = {}
    for trainee in owner:
        shape = trainee.shape if model.trains_together else None
        by_shape.setdefault(trainee if shape is None else shape, []).append(trainee)
    for members in by_shape.values():
        for ended in _trained(members, model):
            several = trainees[owner.pop(ended)]
            if not any(trainee in owner for trainee in several):
                at = next(at for at, those in trainees.items() if those is several)
                yield at, _finished(_model(dict(fits)[at]), several)


def _trained(members: list[Trainee], model: NetworkModel) -> Iterator[Trainee]:
    """Each as it ends."""
    seed = members[0].seed
    if members[0].shape is None or not model.trains_together:
        for trainee in members:
            with session(model, seed):
                try:
                    trainee.train()
                except FitError as error:
                    trainee.fault = error
            yield trainee
        return
    with session(model, seed):
        together = Together(members)
    while together.members:
        with session(model, seed):
            ended = together.epoch()
        yield from ended


def _finished(model: NetworkModel, several: list[Trainee]) -> FitResult | FitError:
    with session(model, several[0].seed):  # networks are drawn, to be filled
        try:
            return model.finish(several)
        except FitError as error:
            return error


@contextmanager
def session(model: NetworkModel, seed: int) -> Iterator[None]:
    """The process's global state as training needs it."""
    on_gpu = model.on_gpu
    with ExitStack() as stack:
        for part in (
            threads(model.threads),
            quiet(),
            seeded(seed, on_gpu),
            single_precision(on_gpu),
            gpu_memory(on_gpu),
        ):
            stack.enter_context(part)
        yield


def _model(fit: PlannedFit) -> NetworkModel:
    return fit.model  # type: ignore[return-value]
