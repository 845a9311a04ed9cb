"""Mirror: a study's tickets as trials of an Optuna study, which samplers, pruners and dashboards understand.

Each worker samples from a mirror in its own memory; another one, in the database, is for optuna-dashboard. A
mirror only ever gains: a ticket becomes a trial once, a running trial gains steps and one end, so copying may
be repeated, and interrupted, at any time. It has the steps of the folds that were judged. The trial's user
attribute ``ticket`` says whose it is; its number is the order of copying and means nothing.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import optuna
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from ehrbench.core.ledger import SPENT, Fit, Ledger, StudyKey, TicketRow
from ehrbench.spine.space import Space

#: User attribute of a trial that holds its ticket's number.
TICKET = "ticket"

_STATES: Mapping[str, TrialState] = {
    "claimed": TrialState.RUNNING,
    "free": TrialState.RUNNING,  # to be tried again with the same parameters
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


def by_ticket(study: optuna.Study) -> dict[int, FrozenTrial]:
    """The study's trials by their tickets' numbers."""
    trials = study.get_trials(deepcopy=False)
    return {trial.user_attrs[TICKET]: trial for trial in trials if TICKET in trial.user_attrs}


@dataclass(frozen=True)
class Known:
    """What a mirror has of a ticket: its trial, whether that has ended, and its steps."""

    trial_id: int
    ended: bool
    steps: Collection[int]


@dataclass(frozen=True)
class Change:
    """What a running trial has gained: steps and, maybe, its end."""

    trial_id: int
    steps: Mapping[int, float]
    end: FrozenTrial | None


class Mirror(Protocol):
    """An Optuna study that shows tickets as trials."""

    def known(self) -> Mapping[int, Known]:
        """By the tickets' numbers."""

    def write(self, made: Sequence[FrozenTrial], changed: Sequence[Change]) -> None:
        """Add trials that are new, and what running ones have gained."""


@dataclass(frozen=True)
class StudyMirror:
    """``Mirror`` in any storage of Optuna's, through its own calls."""

    study: optuna.Study

    def known(self) -> dict[int, Known]:
        return {
            number: Known(trial._trial_id, trial.state.is_finished(), trial.intermediate_values.keys())
            for number, trial in by_ticket(self.study).items()
        }

    def write(self, made: Sequence[FrozenTrial], changed: Sequence[Change]) -> None:
        self.study.add_trials(made)
        storage = self.study._storage
        for change in changed:
            for step, value in change.steps.items():
                storage.set_trial_intermediate_value(change.trial_id, step, value)
            if change.end is not None:
                storage.set_trial_state_values(change.trial_id, change.end.state, change.end.values)


def catch_up(mirror: Mirror, ledger: Ledger, key: StudyKey, space: Space) -> int:
    """Copy what the ledger knows and ``mirror`` does not; how many trials were made or changed.

    Only one process at a time may copy into a shared storage, or a ticket may become two trials.
    """
    known = mirror.known()
    ended = {number for number, trial in known.items() if trial.ended}
    first = next(number for number in itertools.count() if number not in ended)
    made, changed = [], []
    for row in ledger.tickets(key, first=first):
        if row.number in ended or (row.params is None and row.state not in SPENT):
            continue  # of the latter its worker is asking
        if (trial := known.get(row.number)) is None:
            made.append(_frozen(row, space))
        elif (change := _change(row, trial, space)) is not None:
            changed.append(change)
    mirror.write(made, changed)
    return len(made) + len(changed)


def fill(mirror: Mirror, rows: Sequence[TicketRow], space: Space) -> None:
    """Show these tickets, which are spent, in an empty mirror."""
    mirror.write([_frozen(row, space) for row in rows], [])


def state_of(row: TicketRow) -> TrialState:
    return _STATES[row.state]


def _change(row: TicketRow, trial: Known, space: Space) -> Change | None:
    steps = {at: value for at, value in sorted(_steps(row).items()) if at not in trial.steps}
    end = _frozen(row, space) if row.state in SPENT else None
    return Change(trial.trial_id, steps, end) if steps or end else None


def _frozen(row: TicketRow, space: Space) -> FrozenTrial:
    fixed = FixedTrial(dict(row.params or {}))
    if row.params is not None:
        space.suggest(fixed)
    trial = optuna.create_trial(
        state=state_of(row),
        params=fixed.params,
        distributions=fixed.distributions,
        values=_values(row),
        intermediate_values=_steps(row),
        user_attrs={TICKET: row.number},
        system_attrs=dict(row.sampler_state),
    )
    trial.datetime_start = _time(row.started)
    trial.datetime_complete = _time(row.finished) if row.state in SPENT else None
    return trial


def _values(row: TicketRow) -> list[float] | None:
    return [row.value] if row.state == "complete" and row.value is not None else None


def _steps(row: TicketRow) -> dict[int, float]:
    return steps_of(row.counted)


def steps_of(fits: Iterable[Fit]) -> dict[int, float]:
    """Optuna's steps of several fits together: step -> pseudo-value (see ``race``)."""
    return {at: value for fit in fits for at, value in fit.steps.items()}


def _time(seconds: float | None) -> datetime.datetime:
    return datetime.datetime.now() if seconds is None else datetime.datetime.fromtimestamp(seconds)
