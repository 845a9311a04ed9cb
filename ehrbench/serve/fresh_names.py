"""FreshNames: names that nobody can guess, of requests and predictions.

Drawn from the system's source in blocks: on some machines asking it costs more than all else of a short name.
"""

from __future__ import annotations

import secrets
import threading

_BLOCK = 4096


class FreshNames:
    """Safe to share between threads; each byte is used once."""

    def __init__(self) -> None:
        self._lock, self._left = threading.Lock(), b""

    def fresh(self, n_bytes: int) -> str:
        """Twice as many hexadecimal digits."""
        with self._lock:
            if len(self._left) < n_bytes:
                self._left = secrets.token_bytes(_BLOCK)
            drawn, self._left = self._left[:n_bytes], self._left[n_bytes:]
        return drawn.hex()
