"""Latency: which trials, and which sets of models, answer in time on this machine's CPU.

Where there is a limit, the first fold of a trial that ends is exported and asked about single records by
what runs a bundle. A trial that is slower than the limit is spent as failed, with the time as its reason: so
it is never chosen, its other folds cost nothing, and ``trials.csv`` says why. The first time that was
measured for a trial stays, so that its folds agree wherever they are trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations

from ehrbench.core.errors import FitError
from ehrbench.core.ledger import Ledger, StudyKey
from ehrbench.core.model import Model
from ehrbench.core.records import Records


@dataclass(frozen=True)
class AnswerLimit:
    """limit_ms: of one record's answer. averaged: whether a trial answers by all its inner folds' models.

    time_ms: milliseconds of CPU that so many models of this kind take for one of the records.
    """

    limit_ms: float
    averaged: bool
    time_ms: Callable[[Model, Records, int], float]

    def check(
        self, ledger: Ledger, key: StudyKey, ticket: int, model: Model, records: Records, n_folds: int
    ) -> None:
        """FitError for a trial that answers too slowly; measured where it is not known."""
        if trial_ms(ledger, key, ticket) is None:
            found = self.time_ms(model, records, n_folds if self.averaged else 1)
            keep_ms(ledger, key, ticket, found)
        found = trial_ms(ledger, key, ticket) or 0.0
        if found > self.limit_ms:
            raise FitError(
                f"answers in {found:.3g} ms a record, and search.latency_ms is {self.limit_ms:g} — "
                f"raise it, search smaller models, or leave {key.model} out"
            )

    def affordable(self, took_ms: Mapping[str, float]) -> list[tuple[str, ...]]:
        """Sets of models that answer in time together and to which none can be added, largest first."""
        found: list[tuple[str, ...]] = []
        for size in range(len(took_ms), 0, -1):
            for names in combinations(took_ms, size):
                in_time = sum(took_ms[name] for name in names) <= self.limit_ms
                if in_time and not any(set(names) <= set(larger) for larger in found):
                    found.append(names)
        return found


def trial_ms(ledger: Ledger, key: StudyKey, ticket: int) -> float | None:
    """What was measured for a trial; None where nothing was."""
    content = ledger.result(key.study_name, _name(key, ticket))
    return None if content is None else float(content)


def keep_ms(ledger: Ledger, key: StudyKey, ticket: int, took_ms: float) -> None:
    """What was measured for a trial, for whoever asks; the first stays."""
    ledger.put_result(key.study_name, _name(key, ticket), repr(took_ms).encode())


def _name(key: StudyKey, ticket: int) -> str:
    return f"latency/{key.model}/{key.outer_fold}/{ticket}"
