"""The whole search's line counts what the ledger has spent, whoever spent it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ehrbench.core.progress import SILENT, Step
from ehrbench.spine import total


class Written:
    """A Progress that keeps what its steps were told."""

    def __init__(self) -> None:
        self.done: dict[str, float] = {}

    @contextmanager
    def step(self, label: str, total: float | None = None) -> Iterator[Step]:
        written = self

        class One:
            def advance(self, amount: float = 1) -> None:
                written.done[label] = written.done.get(label, 0) + amount

            def note(self, text: str) -> None:
                written.done[text] = 0

        yield One()


def test_each_step_s_move_looks_at_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(total, "LOOK_S", 0.0)
    progress, spent = Written(), [4]  # by an earlier run
    with progress.step("whole") as bar:
        watched = total.Total(progress, bar, lambda: spent[0])
        assert progress.done == {"whole": 4}
        with watched.step("study") as step:
            step.advance(2)
            spent[0] = 9  # three of them another worker's
            step.advance(2)
            step.note("a note")
    assert progress.done == {"whole": 9, "study": 4, "a note": 0}


def test_the_ledger_is_not_asked_at_every_move() -> None:
    asked = []
    with SILENT.step("whole") as bar:
        watched = total.Total(SILENT, bar, lambda: len(asked.append(1) or asked))  # type: ignore[func-returns-value]
        with watched.step("study") as step:
            for _ in range(1000):
                step.advance()
    assert len(asked) == 1
