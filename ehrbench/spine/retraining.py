"""Retraining: the recorded trials of a study trained once more, by any number of workers, nothing asked anew.

Parameters, the folds that counted and how each trial ended come of the ledger; only what a fit makes of its
records and its seed is found out again. The folds of a trial are trained in reverse, where they are not
trained as one: what one fit leaves behind for the next then meets another one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np

from ehrbench.core.errors import FitError
from ehrbench.core.ledger import Ticket
from ehrbench.core.progress import Progress, Step
from ehrbench.spine.latency import keep_ms, trial_ms
from ehrbench.spine.study import Study
from ehrbench.spine.trial import fit_folds


@dataclass(frozen=True)
class PastTrial:
    """One trial as the ledger has it.

    folds: those that counted; state: how it ended; took_ms: of an answer, where that was timed.
    kept: it is trained again. Not so a copy of another trial's fits, a failed trial, nor what is left out.
    """

    number: int
    params: Mapping[str, Any]
    folds: tuple[int, ...]
    state: str
    took_ms: float | None = None
    kept: bool = True

    def left_out(self) -> Self:
        """Its number and parameters alone."""
        return replace(self, folds=(), state="failed", kept=False)

    def to_json(self) -> dict[str, Any]:
        """JSON-like."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Of ``to_json``."""
        return cls(**{**content, "folds": tuple(content["folds"])})


def recorded(study: Study) -> list[PastTrial]:
    """Every trial of a study that is spent, by number."""
    found = []
    for row in study.setting.ledger.tickets(study.key):
        fits = row.counted
        took_ms = trial_ms(study.setting.ledger, study.key, row.number)
        folds = tuple(fit.fold for fit in fits)
        one = PastTrial(row.number, dict(row.params or {}), folds, row.state, took_ms)
        copied = any(fit.seed != study.setting.fit_seed(row.number, fit.fold) for fit in fits)
        found.append(one.left_out() if copied or row.state == "failed" else one)
    return found


def retrain(study: Study, trials: Sequence[PastTrial], progress: Progress) -> None:
    """Train trials that no other worker has taken yet, in an empty ledger of the same study."""
    ledger, of_number = study.setting.ledger, {one.number: one for one in trials}
    with progress.step(f"{study.key.model} again", sum(len(one.folds) for one in trials)) as bar:
        while (ticket := ledger.claim(study.key, len(trials), study.worker)) is not None:
            _retrain_one(study, ticket, of_number[ticket.number], bar)


def _retrain_one(study: Study, ticket: Ticket, one: PastTrial, bar: Step) -> None:
    setting, ledger = study.setting, study.setting.ledger
    with study.hold_lease(ticket) as lease:
        ticket = ledger.start(ticket, one.params, setting.fit_seed(one.number, 0), train=False)
        if not one.kept:
            ledger.fail(ticket, "not trained again", retry=False)
            return
        if one.took_ms is not None:  # times do not repeat
            keep_ms(ledger, study.key, one.number, one.took_ms)
        scores: dict[int, float] = {}
        together = setting.builder(dict(one.params)).trains_together
        folds = range(len(setting.fold.inner)) if together else one.folds[::-1]
        for fold, found in fit_folds(setting, ticket, tuple(folds), lease, bar):
            if isinstance(found, FitError):
                raise found
            scores[fold] = found.score
            bar.advance()
            if scores.keys() >= set(one.folds):
                break
        if one.state == "complete":
            ledger.finish(ticket, "complete", float(np.mean([scores[fold] for fold in one.folds])))
        else:
            ledger.finish(ticket, "pruned", None, len(one.folds))
