"""The whole search's line above its studies': fits of spent trials, of all, whoever spent them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ehrbench.core.progress import Progress, Step

#: Seconds between two looks into the ledger.
LOOK_S = 2.0


class Total:
    """A Progress that looks how far the search is whenever one of its steps moves.

    count: fits of the trials that are spent, as the ledger has it. total: fits of the whole budget.
    """

    def __init__(self, progress: Progress, bar: Step, count: Callable[[], int]) -> None:
        self._progress, self._bar, self._count = progress, bar, count
        self._shown, self._looked = 0, -LOOK_S
        self.look()

    def look(self) -> None:
        """Show what is spent, unless that was done a moment ago."""
        if time.monotonic() - self._looked < LOOK_S:
            return
        self._looked = time.monotonic()
        done = self._count()
        self._bar.advance(done - self._shown)
        self._shown = done

    @contextmanager
    def step(self, label: str, total: float | None = None) -> Iterator[Step]:
        with self._progress.step(label, total) as step:
            yield _Watched(step, self)


class _Watched:
    def __init__(self, step: Step, total: Total) -> None:
        self._step, self._total = step, total

    def advance(self, amount: float = 1) -> None:
        self._step.advance(amount)
        self._total.look()

    def note(self, text: str) -> None:
        self._step.note(text)
