"""Keys: who may write outcomes, read or delete what is kept.

A file (or EHRBENCH_API_KEYS) names them, one a line or comma: ``ward-7 3f9c…``, the name and the key. Names
stand in the log and in the audit; keys are known by their digest from then on, and never shown.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from pathlib import Path

from ehrbench.core.errors import ConfigError

#: Fewer letters could be tried one by one.
SHORTEST = 16
NOBODY = "anybody"


class ApiKeys:
    """Names of keys; none: what asks for a key is either open or refused, as its endpoint says."""

    def __init__(self, names: Mapping[bytes, str]) -> None:
        self._names = dict(names)

    def __bool__(self) -> bool:
        return bool(self._names)

    def name_of(self, key: str) -> str | None:
        """The name of ``key``; None where it is no key. Takes as long whatever the key."""
        digest, found = _digest(key), None
        for known, name in self._names.items():
            if hmac.compare_digest(known, digest):
                found = name
        return found

    @staticmethod
    def of_text(text: str, where: str) -> ApiKeys:
        """Keys of a file's or a variable's text. ConfigError names the line that is none, never its key."""
        names: dict[bytes, str] = {}
        lines = re.split(r"[\n,]", text)
        for number, line in enumerate(lines, 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            place = f"key {number}" if len(lines) > 1 else "the key"
            if len(words) != 2 or not re.fullmatch(r"[\w.@-]{1,64}", words[0]):
                raise ConfigError(where, f"{place} is no name and key", "write NAME KEY, one a line")
            if len(words[1]) < SHORTEST:
                problem = f"{place} ({words[0]}) is shorter than {SHORTEST} letters"
                raise ConfigError(where, problem, "make one with: openssl rand -hex 24")
            if _digest(words[1]) in names or words[0] in names.values():
                raise ConfigError(where, f"{place} ({words[0]}) stands there twice", "keep one of them")
            names[_digest(words[1])] = words[0]
        return ApiKeys(names)

    @staticmethod
    def read(path: Path) -> ApiKeys:
        """Keys of a file; ConfigError where it cannot be read or holds none."""
        try:
            keys = ApiKeys.of_text(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise ConfigError(str(path), f"cannot be read ({reason})", "name a text file of keys") from error
        if not keys:
            raise ConfigError(str(path), "holds no key", "write NAME KEY, one a line")
        return keys


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
