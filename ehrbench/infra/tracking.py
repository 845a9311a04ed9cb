"""Tracking: a thread that brings a tracker up to date while a search goes on, and once more at its end.

Nothing waits for it: a tracker that is down, slow or full is told in one line and tried again with growing
pauses. Of the workers of a search one copies at a time, for some minutes: whoever holds a lock, which is
freed when its holder dies. What a tracker does not get in time, ``ehrbench study sync`` brings it later.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from contextlib import AbstractContextManager

from ehrbench.core.digest import digest
from ehrbench.core.run_folder import RunFolder
from ehrbench.infra.schema import named_lock
from ehrbench.infra.tracked_search import TrackedSearch, Tracker

logger = logging.getLogger(__name__)

_EVERY_S = 10.0
_TURN_S = 300.0  # after which another worker may take over
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_AWAY_S = 10.0  # what the end of a search waits for a sign of life from a tracker that did not answer last


class Tracking:
    """One tracker and one search, from now on until ``close``."""

    def __init__(self, tracker: Tracker, search: TrackedSearch) -> None:
        self.tracker = tracker
        self._search = search
        self._closing, self._away, self._whole = threading.Event(), False, False
        self._thread = threading.Thread(target=self._run, name=tracker.name, daemon=True)
        self._thread.start()

    def close(self, finished: RunFolder | None = None, timeout_s: float = 60.0) -> bool:
        """Copy what has come until now and end; whether it was all copied.

        finished: where the search has just left what it found.
        """
        if finished is not None:
            self._search = self._search.finished(finished)
        self._closing.set()
        deadline = time.monotonic() + timeout_s
        if self._away:
            self._thread.join(min(timeout_s, _AWAY_S))
        if not self._away:
            self._thread.join(max(deadline - time.monotonic(), 0.0))
        return self._whole

    # --- the thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause_s = _SHORTEST_PAUSE_S
        while not self._whole:
            closing = self._closing.is_set()
            try:
                with tracker_lock(self._search, self.tracker, _AWAY_S if closing else 0.0) as held:
                    if held:
                        self._take_turn()
                wait_s, pause_s = _EVERY_S, _SHORTEST_PAUSE_S
            except Exception as error:  # whatever a tracker raises: the ledger keeps what it shall show
                if not self._away:
                    logger.warning(
                        "%s does not answer, it catches up later: %s", self.tracker.name, first_line(error)
                    )
                self._away = True
                wait_s, pause_s = pause_s, min(2 * pause_s, _LONGEST_PAUSE_S)
            if closing:
                return
            self._closing.wait(wait_s * random.uniform(0.5, 1.5))

    def _take_turn(self) -> None:
        self.tracker.forget()
        ends = time.monotonic() + _TURN_S
        while time.monotonic() < ends and not self._whole:
            closing = self._closing.is_set()  # before looking: what has come until then is copied
            self.tracker.catch_up(self._search)
            self._away, self._whole = False, closing
            self._closing.wait(random.uniform(0.5, 1.5) * _EVERY_S)


def tracker_lock(search: TrackedSearch, tracker: Tracker, patience_s: float) -> AbstractContextManager[bool]:
    """Whether this process is the one that copies the search to the tracker."""
    name = f"{tracker.name.lower()}-{digest(search.name)[:8]}"
    return named_lock(search.ledger.engine, name, patience_s)


def first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
