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

#: How long ``check`` waits for the answer of a ledger that has not answered for a whole lease.
PATIENCE_S = 5.0


class LeaseKeeper:
    """Context manager: keeps ``claim`` leased until its block ends.

    lease_s: the ledger's lease; renewed every quarter of it.
    Thread safety: ``check`` may be called from any thread.
    """

    def __init__(self, ledger: Ledger, claim: Claim, lease_s: float | None = None) -> None:
        self._ledger, self._claim = ledger, claim
        self._lease_s: float = lease_s if lease_s is not None else getattr(ledger, "lease_s", 60.0)
        self._changed = threading.Condition()
        self._ended = False
        self._lost: LeaseLost | None = None
        self._renewed = time.monotonic()
        self._doubted: float | None = None  # the renewal after which ``check`` has asked for another
        self._thread = threading.Thread(target=self._run, name=f"lease {claim.number}", daemon=True)

    def __enter__(self) -> LeaseKeeper:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join(timeout=1.0)  # one that waits for a database that is away ends with the process

    def check(self) -> None:
        """Raise LeaseLost if another worker has taken it over.

        Costs nothing while renewals succeed. When the last one is older than the lease, as after a pause of
        the whole process (SIGSTOP, a suspended laptop), the next one is asked for at once and its answer
        awaited for PATIENCE_S: once, so that a database that is away does not hold up training.
        """
        with self._changed:
            renewed = self._renewed
            late = time.monotonic() - renewed > self._lease_s
            if late and self._lost is None and self._doubted != renewed:
                self._doubted = renewed
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._lost or self._renewed > renewed, timeout=PATIENCE_S)
        if self._lost is not None:
            raise LeaseLost(str(self._lost))

    def _run(self) -> None:
        doubted = None

        def called() -> bool:
            return self._ended or self._doubted != doubted

        while self._lost is None:
            with self._changed:
                self._changed.wait_for(called, timeout=self._lease_s / 4)
                if self._ended:
                    return
                doubted = self._doubted
            self._renew()

    def _renew(self) -> None:
        asked = time.monotonic()
        lost = None
        try:
            self._ledger.renew(self._claim)
        except LeaseLost as error:
            lost = error
        except EhrbenchError as error:  # the database is away: training goes on, the fence decides later
            logger.warning(
                "lease of %s ticket %d not renewed: %s", self._claim.study, self._claim.number, error
            )
            return
        with self._changed:
            if lost is None:
                self._renewed = asked
            elif not self._ended:  # after the block's end it is finished, not lost
                self._lost = lost
            self._changed.notify_all()
