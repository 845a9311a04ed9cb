"""One study: an exact budget of trials on the inner folds of one outer fold, by any number of workers.

Order of things for each trial, and why: the ticket is claimed first (the budget is exact whatever dies
later); then a sampler is asked, which sees all tickets in this worker's memory, and its parameters go into
the ledger, before any training; fits enter the ledger one by one, then the ticket's end. Optuna's rows in the
database are a mirror of the ledger, never the other way round.

Whose fault a failure is: what a model raises is its trial's, which is tried again or spent as failed.
Whatever else fails (sampler, pruner, storage) would fail the next trial as well: it ends the search and
spends none.

Parameters that a finished trial has had are not trained again: the sampler is asked once more, some times
over, and if it insists (a small space is exhausted) the ticket is spent on a copy of that trial's fits.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import optuna
from optuna.trial import TrialState

from ehrbench.core.digest import derive_seed
from ehrbench.core.errors import ConfigError, EhrbenchError, FitError, LeaseLost, StorageError
from ehrbench.core.ledger import SPENT, Claim, Fit, HoldLease, Lease, StudyKey, Ticket, TicketRow
from ehrbench.core.progress import Progress, Step
from ehrbench.spine.mirror import TICKET, StudyMirror, by_ticket, catch_up, fill, steps_of
from ehrbench.spine.space import Space, Value
from ehrbench.spine.trial import Lost, ModelFault, Pruned, TrialSetting, fit_fold, run_trial


class MakeSampler(Protocol):
    """Seed -> sampler."""

    def __call__(self, seed: int) -> optuna.samplers.BaseSampler: ...


class Publish(Protocol):
    """Shows a study's tickets elsewhere: now and then, and at the ``last`` once more."""

    def __call__(self, *, last: bool = False) -> None: ...


#: Times a sampler is asked again when it repeats a finished trial.
_ASKS = 10


@dataclass(frozen=True)
class Study:
    """A TrialSetting with a space and a budget.

    The first ticket tries the model's own settings, as far as the space holds them: a search that ends
    below what the authors of a model chose would be a poor one, and they know nothing of any fold. The next
    ones try those of ``portfolio``, which were good elsewhere, likewise; what they leave out is sampled.

    memory: this worker's mirror of the tickets (see ``mirror``), of which samplers and pruners ask.
    make_sampler: a fresh sampler for each trial, so that what is asked depends only on the trials finished
        so far and on the ticket's number, not on which worker asks.
    """

    setting: TrialSetting
    space: Space
    portfolio: Sequence[Mapping[str, Any]]
    n_trials: int
    memory: optuna.Study
    make_sampler: MakeSampler
    hold_lease: HoldLease
    publish: Publish
    worker: str

    @property
    def key(self) -> StudyKey:
        return self.setting.key

    def busy(self) -> int:
        """How many tickets workers hold now."""
        return self.setting.ledger.claimed(self.key)

    def spent(self) -> bool:
        """Whether the whole budget is complete, pruned or failed."""
        return self.setting.ledger.spent(self.key) >= self.n_trials

    @property
    def n_fits(self) -> int:
        """Of the whole budget."""
        return self.n_trials * len(self.setting.fold.inner)

    def n_fits_spent(self) -> int:
        """Of the trials that are spent, folds that a pruned one was spared among them."""
        return self.setting.ledger.spent(self.key) * len(self.setting.fold.inner)

    def run(self, progress: Progress) -> bool:
        """Spend tickets until none can be had now; whether any was spent."""
        ledger, worked = self.setting.ledger, False
        ticket = ledger.claim(self.key, self.n_trials, self.worker)
        if ticket is not None:
            with progress.step(f"{self.key.model} · fold {self.setting.fold.name}", self.n_fits) as bar:
                bar.advance(self.n_fits_spent())
                while ticket is not None:
                    self._spend(ticket, bar)
                    self.publish()
                    worked = True
                    ticket = ledger.claim(self.key, self.n_trials, self.worker)
        if self.spent():
            self.publish(last=True)
        return worked

    def help(self, progress: Progress) -> bool:
        """Train one fit of a trial that another worker runs; whether there was one to be had."""
        ledger = self.setting.ledger
        claim = ledger.claim_fit(self.key, len(self.setting.fold.inner), self.worker)
        if claim is None:
            return False
        label = f"{self.key.model} · fold {self.setting.fold.name} · helping trial {claim.number}"
        with progress.step(label, 1) as bar:
            try:
                with self.hold_lease(claim) as lease:
                    fit_fold(self.setting, claim, lease, bar)
                    bar.advance()
            except LeaseLost:
                bar.note("its trial has ended, or another worker has taken it over")
            except (FitError, ModelFault) as error:
                self._give_back(claim)
                bar.note(f"left to the trial's own worker, which will report: {error}")
            except BaseException:
                self._give_back(claim)
                raise
        return True

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

    def next_asked(self, numbers: Collection[int]) -> tuple[dict[str, Value], list[bool]]:
        """What the sampler would try next, and after which folds the pruner would stop each trial, by these
        tickets, all spent. Writes nothing into the ledger; asked once, and of a study that ran nothing."""
        rows = [row for row in self.setting.ledger.tickets(self.key) if row.number in numbers]
        fill(StudyMirror(self.memory), rows, self.space)
        _, params = self._suggested(Ticket(self.key, self.n_trials, 1, self.worker, 1), 0)
        if self.setting.race is None:
            return params, []
        return params, [
            self._loses(row.number, row.counted[:folds])
            for row in rows
            for folds in range(1, len(row.counted))
        ]

    def _spend(self, ticket: Ticket, bar: Step) -> None:
        """Run one ticket to its end; every way out leaves the ledger right."""
        ledger = self.setting.ledger
        try:
            with self.hold_lease(ticket) as lease:
                try:
                    self._fill(ticket, lease, bar)
                except Pruned as pruned:
                    ledger.finish(ticket, "pruned", None, pruned.judged)
                except FitError as error:  # the same parameters and seed would fail the same way
                    ledger.fail(ticket, str(error), retry=False)
                except ModelFault as error:
                    ledger.fail(ticket, str(error), retry=True)
        except LeaseLost:
            bar.note(f"trial {ticket.number} was taken over by another worker")
            return
        except BaseException:
            self._give_back(ticket)
            raise
        self._forget_beaten(ticket)

    def _fill(self, ticket: Ticket, lease: Lease, bar: Step) -> None:
        """Ask for parameters, or find those that a predecessor asked for, and run the trial to its value."""
        ledger = self.setting.ledger
        catch_up(StudyMirror(self.memory), ledger, self.key, self.space)
        if ticket.params is None:
            ticket = self._ask(ticket)
        # a ticket that nobody had before has no fits
        before = ledger.tickets(self.key, ticket.number, ticket.number) if ticket.token > 1 else []
        row = next(iter(before), None)
        twin = None if row and row.fits else self._finished_with(ticket.params or {})
        if twin is not None:  # the sampler insists on parameters that were tried
            for fit in twin.counted:
                ledger.record_fit(ticket, fit)
            bar.advance(len(self.setting.fold.inner))
            if twin.state == "pruned":
                raise Pruned(len(twin.counted))
            ledger.finish(ticket, "complete", twin.value)
            return
        race = None if self.setting.race is None else self._race(ticket)
        value = run_trial(self.setting, ticket, row, race, lease, bar)
        ledger.finish(ticket, "complete", value)

    def _race(self, ticket: Ticket) -> Lost:
        """Whether the trial is to stop, compared with what others have finished until now."""

        def lost(fits: Sequence[Fit]) -> bool:
            catch_up(StudyMirror(self.memory), self.setting.ledger, self.key, self.space)
            return self._loses(ticket.number, fits)

        return lost

    def _loses(self, number: int, fits: Sequence[Fit]) -> bool:
        trial = copy.copy(by_ticket(self.memory)[number])
        trial.intermediate_values = steps_of(fits)
        with self._blaming("pruner", self.memory.pruner, number):
            return self.memory.pruner.prune(self.memory, trial)

    def _ask(self, ticket: Ticket) -> Ticket:
        """The ticket with parameters, new ones if the sampler has any."""
        for attempt in range(_ASKS):
            trial, params = self._suggested(ticket, attempt)
            new = self._finished_with(params) is None
            if new or attempt + 1 == _ASKS:
                break
            self._forget(trial)
        seed = self.setting.fit_seed(ticket.number, 0)
        state = self.memory._storage.get_trial(trial._trial_id).system_attrs
        try:
            ticket = self.setting.ledger.start(ticket, params, seed, state, train=new)
        except BaseException:
            self._forget(trial)
            raise
        trial.set_user_attr(TICKET, ticket.number)
        return ticket

    def _suggested(self, ticket: Ticket, attempt: int) -> tuple[optuna.Trial, dict[str, Value]]:
        seed = derive_seed(
            self.setting.seed, "sampler", self.key.model, self.setting.fold.name, ticket.number, attempt
        )
        self.memory.sampler = sampler = self.make_sampler(seed)
        starts = [self.setting.builder.defaults(), *self.portfolio]
        if ticket.number < len(starts) and not attempt:  # again only where the space holds it twice
            start = self.space.within(starts[ticket.number])
            self.memory.sampler = optuna.samplers.PartialFixedSampler(start, sampler)
        with self._blaming("sampler", sampler, ticket.number):
            trial = self.memory.ask()
            return trial, self.space.suggest(trial)

    @contextmanager
    def _blaming(self, key: str, part: object, number: int) -> Iterator[None]:
        """Around the code of a sampler or a pruner, most of it Optuna's: whatever it raises is its fault."""
        try:
            yield
        except EhrbenchError:
            raise
        except Exception as error:
            fault = f"{type(part).__name__} fails at trial {number} of study {self.key}"
            raise ConfigError(
                key,
                f"{fault} ({type(error).__name__}: {error})",
                f"name another {key} and another study_name; no trial is spent on it",
            ) from error

    def _forget(self, trial: optuna.Trial) -> None:
        self.memory._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)

    def _finished_with(self, params: Mapping[str, Any]) -> TicketRow | None:
        ended = (TrialState.COMPLETE, TrialState.PRUNED)
        for number, trial in by_ticket(self.memory).items():
            if trial.state in ended and trial.params == params:
                return self.setting.ledger.tickets(self.key, number, number)[0]
        return None

    def _give_back(self, claim: Claim) -> None:
        try:
            self.setting.ledger.release(claim)
        except (LeaseLost, StorageError):
            return  # the lease will run out by itself

    def _forget_beaten(self, ticket: Ticket) -> None:
        """Drop the fitted models of the trial that this one's end has beaten, or its own where it was beaten.

        Models may be large, and only the best trial's ever predict. What other workers finish meanwhile is
        seen at the search's end.
        """
        ledger = self.setting.ledger

        def row_of(number: int) -> TicketRow:
            return ledger.tickets(self.key, number, number)[0]

        own = row_of(ticket.number)
        ended = by_ticket(self.memory).items()
        done = {number: trial.value for number, trial in ended if trial.state == TrialState.COMPLETE}
        done.pop(ticket.number, None)
        first = min(done, key=lambda n: (-self.setting.metric.gain(done[n] or 0.0), n), default=None)
        if first is None:
            best, beaten = own, own if own.state in ("pruned", "failed") else None
        else:
            rows = [own, row_of(first)]
            complete = [row for row in rows if row.state == "complete"]
            best = min(complete, key=lambda r: (-self.setting.metric.gain(r.value or 0.0), r.number))
            beaten = next((row for row in rows if row is not best and row.state in SPENT), None)
        if beaten is None:
            return
        kept = {fit.model for fit in best.fits} if best is not beaten else set()
        lost = {fit.model for fit in beaten.fits if fit.model} - kept
        for model in lost - ledger.models_elsewhere(self.key.study_name, lost) if lost else ():
            ledger.artifacts.drop(model)
