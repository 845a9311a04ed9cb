"""Ledger: the one truth of what a search has done.

It counts tickets (the exact budget), leases them to workers, and keeps one row for each Fit with its
out-of-fold predictions. Optuna's rows and MLflow's runs are projections of it.

Tickets
-------
A study of ``n_trials`` has tickets 0 … n_trials-1. A worker claims one in a single transaction *before* it
asks a sampler for parameters; the claim carries a lease that a thread renews, and a fencing token that grows
with each claim of the same ticket. Every write for a ticket checks the token inside its transaction and
raises ``LeaseLost`` when another worker has claimed it since. A ticket ends ``complete``, ``pruned`` or
``failed``; a failure below the retry limit frees it to be claimed again, with its parameters and its Fits.

Fits
----
A worker that finds no ticket may help: it leases one inner fold of a trial that another worker runs
(``claim_fit``). The ticket's holder says which fold it trains itself (``take_fold``), or that it trains all
that are left as one (``take_folds``: recorded one by one as they end, and a successor takes those without a
Fit), so that nobody trains what somebody trains or what has a Fit. A FitLease has a token of its own, checked
as the ticket's is, and ends with the trial. Only the ticket's holder judges the trial, fold by fold in order;
``judged`` says how far, and Fits beyond it are kept but change nothing.

Thread safety: all methods may be called from several threads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Protocol

TicketState = Literal["claimed", "free", "complete", "pruned", "failed"]
SPENT: frozenset[str] = frozenset({"complete", "pruned", "failed"})
NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class StudyKey:
    """One study: a model searched within one outer fold (``None``: over all records, for the bundle)."""

    study_name: str
    task: str
    model: str
    outer_fold: int | None

    def __str__(self) -> str:
        fold = "all" if self.outer_fold is None else f"fold{self.outer_fold}"
        return f"{self.study_name}/{self.task}/{self.model}/{fold}"


@dataclass(frozen=True)
class Ticket:
    """The right to spend one trial of a study, as its worker holds it."""

    study: StudyKey
    number: int
    token: int
    worker: str
    attempt: int
    params: Mapping[str, Any] | None = None  # once a sampler was asked
    seed: int | None = None


@dataclass(frozen=True)
class FitLease:
    """The right to train one inner fold of a ticket that another worker holds."""

    study: StudyKey
    number: int  # of the ticket
    fold: int
    token: int
    worker: str
    params: Mapping[str, Any] | None


Claim = Ticket | FitLease


@dataclass(frozen=True)
class Fit:
    """One (trial, inner fold), finished. ``predictions`` and ``model`` are artifact digests.

    steps: what the race compares, by Optuna's step; the same steps for every trial of a study.
    """

    fold: int
    seed: int
    score: float
    best_step: int
    duration_s: float
    predictions: str
    model: str | None
    fold_digest: str
    curve: tuple[tuple[int, dict[str, float]], ...] = ()
    steps: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TicketRow:
    """A ticket as anybody may read it.

    sampler_state: what the sampler keeps with the trial (CMA-ES: its distribution), JSON-like.
    judged: how many folds its holder has judged; None: all, or no matter.
    """

    study: StudyKey
    number: int
    state: TicketState
    attempt: int
    worker: str | None
    params: Mapping[str, Any] | None
    seed: int | None
    value: float | None
    error: str | None
    started: float | None  # seconds since the epoch
    finished: float | None
    fits: Sequence[Fit] = ()
    sampler_state: Mapping[str, Any] = field(default_factory=dict)
    judged: int | None = None

    @property
    def counted(self) -> tuple[Fit, ...]:
        """The fits that count, by fold; not those that helpers finished beyond where the race ended."""
        ordered = sorted(self.fits, key=lambda fit: fit.fold)
        return tuple(fit for fit in ordered if self.judged is None or fit.fold < self.judged)


class ArtifactStore(ABC):
    """Content-addressed files: written whole or not at all, verified on read."""

    @abstractmethod
    def put(self, content: bytes) -> str:
        """Store and return the SHA-256 of the content. Storing it again changes nothing."""

    @abstractmethod
    def get(self, digest: str) -> bytes:
        """The content; StorageError when missing or altered."""

    @abstractmethod
    def put_folder(self, folder: Path) -> str:
        """Store a flat folder's files under one digest."""

    @abstractmethod
    def get_folder(self, digest: str, into: Path) -> None:
        """Write the files of ``put_folder`` into a folder; StorageError when missing or altered."""

    @abstractmethod
    def drop(self, digest: str) -> None:
        """Forget the content; nothing happens when it is not there."""


class Lease(Protocol):
    """The lease of a ticket or a fit, renewed behind the training's back while its context is open."""

    def check(self) -> None:
        """Raise LeaseLost when another worker has taken it over. Cheap: asks nobody."""
        ...


class HoldLease(Protocol):
    """Opens the lease of a ticket or a fit."""

    def __call__(self, claim: Claim) -> AbstractContextManager[Lease]: ...


class Ledger(ABC):
    """Storage of tickets, leases and fits. See the module's text for what they mean."""

    artifacts: ArtifactStore

    @abstractmethod
    def open_study(self, key: StudyKey, digest: str, facts: Mapping[str, Any]) -> None:
        """Make the study, or check that it exists with the same digest; else raise StudyMismatch.

        ``facts`` (JSON-like) are what the digest was made of, so that a mismatch can name what differs.
        """

    @abstractmethod
    def claim(self, key: StudyKey, n_trials: int, worker: str) -> Ticket | None:
        """A free, expired or new ticket, lowest number first; None when none can be had now.

        None either because all ``n_trials`` are spent or because live workers hold the rest: see ``spent``.
        Raises ConfigError when the study already has more than ``n_trials`` tickets.
        """

    @abstractmethod
    def start(
        self,
        ticket: Ticket,
        params: Mapping[str, Any],
        seed: int,
        sampler_state: Mapping[str, Any] = NOTHING,
        *,
        train: bool = True,
    ) -> Ticket:
        """Record what the ticket is spent on, before any fit.

        train: its holder now trains fold 0, and helpers may train others; else nobody trains.
        """

    @abstractmethod
    def take_fold(self, ticket: Ticket, n_folds: int, judged: int = 0) -> int | None:
        """The lowest fold without a Fit and without a helper, which the ticket's holder now trains.

        None when there is none, because helpers train the rest. The first ``judged`` folds are judged.
        """

    @abstractmethod
    def take_folds(self, ticket: Ticket, n_folds: int, judged: int = 0) -> tuple[int, ...]:
        """All folds without a Fit and without a helper: the ticket's holder now trains them together.

        Until it takes again no helper finds a fold of this trial. The first ``judged`` folds are judged.
        """

    @abstractmethod
    def claim_fit(self, key: StudyKey, n_folds: int, worker: str) -> FitLease | None:
        """A fold of a running trial that nobody trains; None when none can be had now.

        Not of a trial whose holder is silent: that one is claimed whole. A fold that helpers have given up
        or died of as often as a ticket may fail is left to the ticket's holder.
        """

    @abstractmethod
    def renew(self, claim: Claim) -> None:
        """Prolong the lease; LeaseLost when it was taken over or, for a fit, its trial has ended."""

    @abstractmethod
    def record_fit(self, claim: Claim, fit: Fit) -> None:
        """Fenced; recording the same fold again for the ticket keeps the first."""

    @abstractmethod
    def finish(
        self,
        ticket: Ticket,
        state: Literal["complete", "pruned"],
        value: float | None,
        judged: int | None = None,
    ) -> None:
        """Spend the ticket, by its first ``judged`` folds (None: all)."""

    @abstractmethod
    def fail(self, ticket: Ticket, error: str, *, retry: bool) -> TicketState:
        """Free the ticket for another attempt, or spend it as failed; returns which (free or failed)."""

    @abstractmethod
    def release(self, claim: Claim) -> None:
        """Give a ticket back unspent (Ctrl-C), its fits stay and its attempt does not count; or a fit."""

    @abstractmethod
    def tickets(self, key: StudyKey, first: int = 0, last: int | None = None) -> list[TicketRow]:
        """Tickets with their fits, by number, from ``first`` to ``last`` (both included; None: all)."""

    @abstractmethod
    def fit_leases(self, key: StudyKey) -> list[FitLease]:
        """What helpers train now, by ticket and fold."""

    @abstractmethod
    def studies(self, study_name: str | None = None) -> list[StudyKey]:
        """All studies, or those of one search."""

    @abstractmethod
    def models_elsewhere(self, study_name: str, among: Collection[str] | None = None) -> set[str]:
        """Digests of the models (among these) of all searches but this: equal searches have equal models."""

    @abstractmethod
    def put_result(self, study_name: str, name: str, content: bytes) -> None:
        """Keep a finished step of the search (an outer fold's result) under a name; the first one stays."""

    @abstractmethod
    def result(self, study_name: str, name: str) -> bytes | None:
        """What ``put_result`` kept under the name; None where nothing was."""

    @abstractmethod
    def result_names(self, study_name: str, prefix: str) -> list[str]:
        """Names of the kept results that begin with ``prefix``, sorted."""

    def spent(self, key: StudyKey) -> int:
        """Tickets that are complete, pruned or failed."""
        return sum(t.state in SPENT for t in self.tickets(key))

    def claimed(self, key: StudyKey) -> int:
        """Tickets that workers hold."""
        return sum(t.state == "claimed" for t in self.tickets(key))
