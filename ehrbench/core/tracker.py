"""Tracker: a copy of what the ledger holds, for people to look at (MLflow).

Nothing waits for a tracker and nothing is read back from one: an outage never stops a fit, and the copy
catches up. Every call names its run by a key that is the same after a restart, so that calls may be
repeated without making doubles.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol


class Tracker(Protocol):
    """All calls return at once and never raise for an outage."""

    def run(
        self,
        key: str,
        *,
        name: str,
        parent: str | None = None,
        tags: Mapping[str, str] | None = None,
        at: float | None = None,
    ) -> None:
        """Open (or find again) the run ``key``, a child of the run ``parent``.

        at: seconds since the epoch; None: now.
        """
        ...

    def params(self, key: str, params: Mapping[str, object]) -> None:
        """Parameters by name, as text; one that the run has already keeps its value."""
        ...

    def metrics(self, key: str, values: Mapping[str, float], step: int = 0) -> None:
        """Values by name at a step (an inner fold's number, for a trial's run)."""
        ...

    def artifact(self, key: str, path: Path, folder: str = "") -> None:
        """Copy a file or a directory's content to the run, under ``folder``."""
        ...

    def dataset(self, key: str, name: str, digest: str, facts: Mapping[str, object]) -> None:
        """What the run's figures were made from."""
        ...

    def model(self, key: str, name: str, path: Path) -> None:
        """A model that the run has made, with the content of the directory ``path``."""
        ...

    def end(self, key: str, state: str = "FINISHED", at: float | None = None) -> None:
        """``state``: FINISHED, FAILED or KILLED; at: as of ``run``."""
        ...

    def close(self, timeout_s: float = 30.0) -> int:
        """Wait for what is queued; the number of calls that stay spooled for the next run."""
        ...


class NoTracker:
    """Tracks nothing."""

    def run(
        self,
        key: str,
        *,
        name: str,
        parent: str | None = None,
        tags: Mapping[str, str] | None = None,
        at: float | None = None,
    ) -> None:
        pass

    def params(self, key: str, params: Mapping[str, object]) -> None:
        pass

    def metrics(self, key: str, values: Mapping[str, float], step: int = 0) -> None:
        pass

    def artifact(self, key: str, path: Path, folder: str = "") -> None:
        pass

    def dataset(self, key: str, name: str, digest: str, facts: Mapping[str, object]) -> None:
        pass

    def model(self, key: str, name: str, path: Path) -> None:
        pass

    def end(self, key: str, state: str = "FINISHED", at: float | None = None) -> None:
        pass

    def close(self, timeout_s: float = 30.0) -> int:
        return 0
