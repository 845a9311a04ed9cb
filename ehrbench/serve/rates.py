"""Rates: how often one client may ask.

The generic cell rate algorithm (ITU-T I.371, appendix): one number a client, the time at which it would be
even. Clients that have been even for long are forgotten, oldest first, so that their list has an end.
"""

from __future__ import annotations

from collections import OrderedDict

#: Clients remembered; whoever sends from more addresses than that is not stopped by counting them.
MOST_CLIENTS = 10_000


class RateLimit:
    """``rate`` requests a second of each client, and twice as many at once."""

    def __init__(self, rate: float) -> None:
        self._interval_s, self._slack_s = 1 / rate, max(2.0, 1 / rate)
        self._even: OrderedDict[str, float] = OrderedDict()

    def wait_s(self, client: str, now_s: float) -> float:
        """0 where a request may pass, which it is then counted to; else the seconds until the next may.

        >>> limit = RateLimit(1)
        >>> [limit.wait_s("a", 100.0) for _ in range(3)], limit.wait_s("b", 100.0), limit.wait_s("a", 101.0)
        ([0.0, 0.0, 1.0], 0.0, 0.0)
        """
        even = max(self._even.pop(client, now_s), now_s)
        late_s = even + self._interval_s - now_s - self._slack_s
        self._even[client] = even if late_s > 0 else even + self._interval_s
        while len(self._even) > MOST_CLIENTS:
            self._even.popitem(last=False)
        return max(late_s, 0.0)
