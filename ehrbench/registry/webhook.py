"""Webhook: events of the registry as JSON to an address, for whoever acts on them (a chat, a deployment).

An event is told after it happened, and an address that does not answer changes nothing of it. No record, no
prediction and no path is in an event.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ehrbench.core.errors import ConfigError

TIMEOUT_S = 5.0


def check_address(key: str, address: str) -> None:
    """Raise ConfigError for what is no http address; it is not shown, since it may be a secret."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(key, "is no http:// or https:// address", "give one that takes POST")


def post(address: str, event: Mapping[str, Any]) -> str:
    """Send one event; "" or why it was not taken."""
    body = json.dumps(event).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            return "" if answer.status < 300 else f"answered {answer.status}"
    except urllib.error.HTTPError as error:
        return f"answered {error.code}"
    except (OSError, ValueError) as error:  # ValueError: an answer that is not HTTP
        return f"did not answer ({getattr(error, 'reason', error)})"
