"""Progress: how long steps tell the terminal where they are, without knowing the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Step(Protocol):
    """One running step."""

    def advance(self, amount: float = 1) -> None: ...

    def note(self, text: str) -> None:
        """A short remark beside the bar (a score, a count)."""
        ...


class Progress(Protocol):
    """Opens steps; ``total`` is in whatever unit ``advance`` counts."""

    def step(self, label: str, total: float | None = None) -> AbstractContextManager[Step]: ...


class _Silent:
    def advance(self, amount: float = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    @contextmanager
    def step(self, label: str, total: float | None = None) -> Iterator[Step]:
        yield self


SILENT: Progress = _Silent()
