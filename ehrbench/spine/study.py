"""One study: an exact budget of trials on the inner folds of one outer fold, by any number of workers.

Order of things for each trial, and why: the ticket is claimed first (the budget is exact whatever dies
later); then Optuna is asked, and its trial number and parameters go into the ledger, before any training;
fits enter the ledger one by one; the ticket's end is written to the ledger, then told to Optuna. Optuna's
rows can always be rebuilt from the ledger, never the other way round.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import optuna
from optuna.trial import TrialState

from ehrbench.core.digest import derive_seed
from ehrbench.core.errors import ConfigError, DataError, EhrbenchError, FitError, LeaseLost, StorageError
from ehrbench.core.ledger import Fit, HoldLease, StudyKey, Ticket, TicketRow
from ehrbench.core.progress import Progress, Step
from ehrbench.core.tracker import Tracker
from ehrbench.spine.space import Space, Value
from ehrbench.spine.trial import Pruned, TrialSetting, run_trial


class MakeSampler(Protocol):
    """Seed -> sampler."""

    def __call__(self, seed: int) -> optuna.samplers.BaseSampler: ...


@dataclass(frozen=True)
class OpenedStudy:
    """An Optuna study, and what brings its rows in line with the ledger's (orphans of dead workers)."""

    optuna_study: optuna.Study
    reconcile: Callable[[], object]


class OpenStudy(Protocol):
    """Makes or finds the Optuna study of a key."""

    def __call__(self, key: StudyKey, maximize: bool) -> OpenedStudy: ...


@dataclass(frozen=True)
class Study:
    """A TrialSetting with a space, a budget and an Optuna study.

    The first ticket tries the model's own settings, as far as the space holds them: a search that ends
    below what the authors of a model chose would be a poor one, and they know nothing of any fold.

    make_sampler: a fresh sampler for each trial, so that what is asked depends only on the trials finished
        so far and on the ticket's number, not on which worker asks.
    """

    setting: TrialSetting
    space: Space
    n_trials: int
    opened: OpenedStudy
    make_sampler: MakeSampler
    hold_lease: HoldLease
    worker: str
    tracker: Tracker
    tags: Mapping[str, str]

    @property
    def key(self) -> StudyKey:
        return self.setting.key

    def busy(self) -> int:
        """How many tickets workers hold now."""
        return sum(row.state == "claimed" for row in self.setting.ledger.tickets(self.key))

    def spent(self) -> bool:
        return self.setting.ledger.spent(self.key) >= self.n_trials

    def run(self, progress: Progress) -> bool:
        """Spend tickets until none can be had now; whether any was spent."""
        ledger, worked = self.setting.ledger, False
        ticket = ledger.claim(self.key, self.n_trials, self.worker)
        if ticket is not None:
            with progress.step(
                f"{self.key.model} · fold {self.setting.fold.name}", self._total_fits()
            ) as bar:
                bar.advance(ledger.spent(self.key) * len(self.setting.fold.inner))
                while ticket is not None:
                    self._spend(ticket, bar)
                    worked = True
                    ticket = ledger.claim(self.key, self.n_trials, self.worker)
        if self.spent():
            self.opened.reconcile()
        return worked

    def best(self) -> TicketRow:
        """The complete ticket with the best value, the earliest of equals.

        Raises FitError when no trial completed, naming the last error.
        """
        rows = self.setting.ledger.tickets(self.key)
        complete = [row for row in rows if row.state == "complete" and row.value is not None]
        if not complete:
            last = next((row.error for row in reversed(rows) if row.error), "none (all were pruned)")
            raise FitError(
                f"study {self.key}: none of {len(rows)} trials completed; the last error was: {last}"
            )
        return min(complete, key=lambda row: (-self.setting.metric.gain(row.value or 0.0), row.number))

    def _total_fits(self) -> int:
        return self.n_trials * len(self.setting.fold.inner)

    def _spend(self, ticket: Ticket, bar: Step) -> None:
        """Run one ticket to its end; every way out leaves the ledger right."""
        ledger = self.setting.ledger
        try:
            with self.hold_lease(ticket) as lease:
                try:
                    ticket, trial, params, done = self._start(ticket)
                    value = run_trial(self.setting, ticket, params, done, trial, lease, bar)
                except Pruned:
                    ledger.finish(ticket, "pruned", None)
                    self._tell(ticket, TrialState.PRUNED, None)
                except (LeaseLost, ConfigError, DataError, StorageError, KeyboardInterrupt):
                    raise
                except FitError as error:  # the same parameters and seed would fail the same way
                    self._failed(ticket, str(error), retry=False)
                except Exception as error:
                    if isinstance(error, EhrbenchError):
                        raise
                    if isinstance(error, OSError) and error.errno == 28:
                        raise StorageError(
                            f"{error.filename or 'disk'}: disk full — free some space and run again"
                        ) from error
                    self._failed(ticket, f"{type(error).__name__}: {error}", retry=True)
                else:
                    ledger.finish(ticket, "complete", value)
                    self._tell(ticket, TrialState.COMPLETE, value)
        except LeaseLost:
            bar.note(f"trial {ticket.number} was taken over by another worker")
            return
        except BaseException:
            self._give_back(ticket)
            raise
        self._track(ticket)

    def _start(self, ticket: Ticket) -> tuple[Ticket, optuna.Trial, dict[str, Value], dict[int, Fit]]:
        """Ask Optuna for a new trial, or find the trial a predecessor began, with the fits it finished."""
        ledger, study = self.setting.ledger, self.opened.optuna_study
        if ticket.trial_number is not None:
            done = {
                fit.fold: fit
                for row in ledger.tickets(self.key)
                if row.number == ticket.number
                for fit in row.fits
            }
            trial = self._running_trial(ticket)
            return ticket, trial, dict(ticket.params or {}), done
        sampler = self.make_sampler(
            derive_seed(self.setting.seed, "sampler", self.key.model, self.setting.fold.name, ticket.number)
        )
        if ticket.number == 0:
            first = self.space.within(self.setting.builder.defaults())
            sampler = optuna.samplers.PartialFixedSampler(first, sampler)
        study.sampler = sampler
        trial = study.ask()
        params = self.space.suggest(trial)
        trial.set_user_attr("ticket", ticket.number)
        seed = self.setting.fit_seed(ticket.number, 0)
        ledger.start(ticket, trial.number, params, seed)
        ticket = replace(ticket, trial_number=trial.number, params=params, seed=seed)
        return ticket, trial, params, {}

    def _running_trial(self, ticket: Ticket) -> optuna.Trial:
        assert ticket.trial_number is not None
        frozen = self.opened.optuna_study.get_trials(deepcopy=False)[ticket.trial_number]
        if (
            frozen.state.is_finished()
        ):  # a reaper took the trial for dead: go on with a copy that asks the same
            self.opened.optuna_study.enqueue_trial(
                dict(ticket.params or {}), user_attrs={"ticket": ticket.number}
            )
            trial = self.opened.optuna_study.ask()
            self.space.suggest(trial)
            self.setting.ledger.start(ticket, trial.number, dict(ticket.params or {}), ticket.seed or 0)
            return trial
        return optuna.Trial(self.opened.optuna_study, frozen._trial_id)

    def _failed(self, ticket: Ticket, error: str, *, retry: bool) -> None:
        if self.setting.ledger.fail(ticket, error, retry=retry) == "failed":
            self._tell(ticket, TrialState.FAIL, None)

    def _tell(self, ticket: Ticket, state: TrialState, value: float | None) -> None:
        """Project a ticket's end onto Optuna; nothing happens when it is told already."""
        number = ticket.trial_number
        if number is not None:
            self.opened.optuna_study.tell(number, value, state=state, skip_if_finished=True)

    def _give_back(self, ticket: Ticket) -> None:
        try:
            self.setting.ledger.release(ticket)
        except (LeaseLost, StorageError):
            return  # the lease will run out by itself

    def _track(self, ticket: Ticket) -> None:
        """Copy the ticket to the tracker: parameters, scores by fold, duration, seed, fold digest."""
        row = next(r for r in self.setting.ledger.tickets(self.key) if r.number == ticket.number)
        if row.state == "free":
            return
        run = f"{self.key}/trial{row.number}"
        name = f"{self.key.model} fold {self.setting.fold.name} trial {row.number}"
        tags = {
            **self.tags,
            "model": self.key.model,
            "outer_fold": self.setting.fold.name,
            "state": row.state,
        }
        tags |= {"fold_digest": self.setting.fold.digest[:16], "seed": str(row.seed)}
        if row.error:
            tags["error"] = row.error[:500]
        self.tracker.run(run, name=name, parent=self.key.study_name, tags=tags)
        self.tracker.params(
            run, {"model": self.key.model, **{k: _plain(v) for k, v in (row.params or {}).items()}}
        )
        metric = self.setting.metric.name
        for fit in sorted(row.fits, key=lambda f: f.fold):
            values = {
                f"inner_{metric}_by_fold": fit.score,
                "best_step": fit.best_step,
                "fit_seconds": fit.duration_s,
            }
            self.tracker.metrics(run, values, step=fit.fold)
        if row.value is not None:
            self.tracker.metrics(run, {f"inner_{metric}": row.value})
        self.tracker.metrics(run, {"seconds": sum(fit.duration_s for fit in row.fits)})
        self.tracker.end(run, "FINISHED" if row.state != "failed" else "FAILED")


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) else json.dumps(value)
