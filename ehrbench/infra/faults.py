"""Faults: which errors of a database pass by themselves, and what to tell the user of the others.

Codes are MySQL's and MariaDB's error numbers (the servers' reference manuals, "Server Error Message
Reference" and "Client Error Message Reference") and SQLite's primary result codes.
"""

from __future__ import annotations

import re
import sqlite3

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ehrbench.core.errors import StorageError

DATABASE_FAULTS: tuple[type[BaseException], ...] = (SQLAlchemyError,)

_TRANSIENT = {
    0: "the connection was closed",
    1040: "too many connections",
    1053: "the server is shutting down",
    1077: "the server is shutting down",
    1152: "aborted connection",
    1158: "network read error",
    1159: "network read timeout",
    1160: "network write error",
    1161: "network write timeout",
    1203: "too many connections of this user",
    1205: "lock wait timeout",
    1213: "deadlock",
    1317: "query interrupted",
    1927: "connection was killed",
    2002: "cannot connect",
    2003: "cannot connect",
    2006: "server has gone away",
    2013: "lost connection during a query",
    2055: "lost connection",
    4031: "disconnected by the server",
}
_NO_SUCH_HOST = ("Name or service not known", "nodename nor servname", "getaddrinfo", "No address associated")
_READ_ONLY_SERVER = {1290, 1792, 1836}
_READ_ONLY_USER = {1142, 1143, 1227, 1370}


def is_transient(error: BaseException) -> bool:
    """Whether the same work may succeed in a moment."""
    origin = _origin(error)
    if isinstance(origin, sqlite3.OperationalError):
        return any(text in str(origin) for text in ("locked", "busy"))
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    code = _code(origin)
    return code in _TRANSIENT and not _unknown_host(origin) and not _untrusted(origin)


def explain(error: BaseException, url: URL) -> StorageError | None:
    """One line for the user, or None when the fault is not the user's to mend."""
    origin = _origin(error)
    if isinstance(origin, sqlite3.Error):
        return _explain_sqlite(origin, url)
    code = _code(origin)
    server = f"{url.host}:{url.port}"
    if code == 1045 or code == 1698:
        return StorageError(
            f"{server}: user {url.username} was refused — check OPTUNA_USER and OPTUNA_PASSWORD"
        )
    if code == 1130:
        return StorageError(
            f"{server}: no user may connect from this machine — CREATE USER {url.username}@'%' and GRANT ALL "
            f"ON {url.database}.* to it"
        )
    if code == 1044:  # also where there is none: MySQL tells only those who may know
        return StorageError(
            f"{server}: user {url.username} has no rights on a database {url.database} — correct "
            f"OPTUNA_DATABASE, or CREATE DATABASE and GRANT ALL ON {url.database}.* to it"
        )
    if code in _READ_ONLY_USER:
        return StorageError(
            f"{server}: user {url.username} may not write to {url.database} — GRANT ALL ON {url.database}.* "
            f"to it, or use another OPTUNA_USER"
        )
    if code in _READ_ONLY_SERVER:
        return StorageError(f"{server}: the server is read-only — use the primary as OPTUNA_HOST")
    if code == 1049:
        return StorageError(
            f"{server}: no database {url.database} — CREATE DATABASE it, or correct OPTUNA_DATABASE"
        )
    if _unknown_host(origin):
        return StorageError(f"{url.host}: no such host — check OPTUNA_HOST")
    if _untrusted(origin):
        return StorageError(
            f"{server}: its certificate is not trusted ({_reason(origin)}) — OPTUNA_TLS_CA must name who "
            f"signed it, and OPTUNA_HOST a name that it holds"
        )
    if code in (2002, 2003, 2026):
        return StorageError(
            f"{server}: cannot connect ({_reason(origin)}) — check OPTUNA_HOST, OPTUNA_PORT, OPTUNA_TLS_CA "
            f"and that the server runs"
        )
    if code in _TRANSIENT:
        return StorageError(
            f"{server}: {_TRANSIENT[code]}, still — check OPTUNA_HOST, OPTUNA_PORT and the server, run again"
        )
    return None


def _explain_sqlite(origin: sqlite3.Error, url: URL) -> StorageError | None:
    text = str(origin)
    if "unable to open" in text or "readonly" in text:
        return StorageError(f"{url.database}: cannot be written — check the permissions of file and folder")
    if "not a database" in text or "malformed" in text:
        return StorageError(
            f"{url.database}: is not an SQLite database, or damaged — move it away or restore it"
        )
    if "locked" in text or "busy" in text:
        return StorageError(f"{url.database}: locked by another process — end it, or use storage=mysql")
    if "full" in text or "disk I/O" in text:
        return StorageError(f"{url.database}: cannot be written ({text}) — make room on the disk")
    return None


def _origin(error: BaseException) -> BaseException:
    """The driver's error beneath SQLAlchemy's and Optuna's wrappings."""
    seen: BaseException = error
    while True:
        inner = getattr(seen, "orig", None) or (
            seen.__cause__ if isinstance(seen.__cause__, SQLAlchemyError) else None
        )
        if inner is None:
            return seen
        seen = inner


def _code(origin: BaseException) -> int | None:
    first = origin.args[0] if origin.args else None
    return first if isinstance(first, int) and type(origin).__module__.startswith("pymysql") else None


def _unknown_host(origin: BaseException) -> bool:
    return _code(origin) == 2003 and any(text in str(origin) for text in _NO_SUCH_HOST)


def _untrusted(origin: BaseException) -> bool:
    return _code(origin) in (2003, 2026) and "CERTIFICATE_VERIFY_FAILED" in str(origin)


def _reason(origin: BaseException) -> str:
    """The system's words, without the driver's before them and OpenSSL's source line behind."""
    text = str(origin.args[-1])
    text = text[text.find("(") + 1 :].rstrip(")") if "(" in text else text
    return re.sub(r"^\[SSL: \w+\] | \(_ssl\.c:\d+$", "", text)
