"""LeaseKeeper: renews the lease of a ticket or a fit from a thread while the main thread trains.

Renewal happens every quarter of the lease. When another worker has taken it over, ``check`` raises
LeaseLost in the training thread, between epochs, so that no more time is spent on work nobody will take. The
fence inside the ledger's transactions is what keeps a late worker from writing; this only tells it early.
"""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType

from ehrbench.core.errors import EhrbenchError, LeaseLost
from ehrbench.core.ledger import Claim, Ledger

logger = logging.getLogger(__name__)


class LeaseKeeper:
    """Context manager: keeps ``claim`` leased until its block ends.

    lease_s: the ledger's lease; renewed every quarter of it.
    Thread safety: ``check`` may be called from any thread.
    """

    def __init__(self, ledger: Ledger, claim: Claim, lease_s: float | None = None) -> None:
        self._ledger, self._claim = ledger, claim
        self._lease_s: float = lease_s if lease_s is not None else getattr(ledger, "lease_s", 60.0)
        self._ended = threading.Event()
        self._lost: LeaseLost | None = None
        self._renewed = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"lease {claim.number}", daemon=True)

    def __enter__(self) -> LeaseKeeper:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(
            timeout=1.0
        )  # a thread that waits for a database that is away ends with the process

    def check(self) -> None:
        """Raise LeaseLost if another worker has taken it over.

        Costs nothing while renewals succeed; asks the ledger itself when the last one is older than the
        lease, as after a pause of the whole process (SIGSTOP, a suspended laptop).
        """
        if self._lost is None and time.monotonic() - self._renewed > self._lease_s:
            self._renew()
        if self._lost is not None:
            raise LeaseLost(str(self._lost))

    def _run(self) -> None:
        while not self._ended.wait(self._lease_s / 4) and self._lost is None:
            self._renew()

    def _renew(self) -> None:
        asked = time.monotonic()
        try:
            self._ledger.renew(self._claim)
            self._renewed = asked
        except LeaseLost as lost:
            if not self._ended.is_set():  # after the block's end it is finished, not lost
                self._lost = lost
        except EhrbenchError as error:  # the database is away: training goes on, the fence decides later
            logger.warning(
                "lease of %s ticket %d not renewed: %s", self._claim.study, self._claim.number, error
            )
