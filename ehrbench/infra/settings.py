"""Settings: where the services are, from the environment and a ``.env`` file.

Read when asked, never at import; a variable of the environment wins over the file. Secrets are ``Secret``
values that do not print, so they reach no log, traceback, MLflow run or bundle by accident.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, fields
from pathlib import Path

from dotenv import dotenv_values

from ehrbench.core.errors import ConfigError
from ehrbench.core.places import home, is_address

#: Settings that are places, or may be.
PLACES = ("optuna_tls_ca", "artifacts_url", "checkpoints_dir", "logs_dir", "ehrbench_data")
#: Settings that are addresses, and where the password belongs that must not stand in them.
ADDRESSES = {
    "artifacts_url": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "checkpoints_dir": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "logs_dir": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "aws_endpoint_url": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "mlflow_tracking_uri": "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
}


class Secret:
    """A string that prints as asterisks; ``reveal`` gives it to the one call that needs it."""

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "'***'" if self._text else "''"

    __str__ = __repr__

    def __bool__(self) -> bool:
        return bool(self._text)

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a secret is never pickled")


@dataclass(frozen=True)
class Environment:
    """One field a variable, named by it in lower case; ``docs/storage.md`` says what each is for.

    An empty variable counts as unset.
    """

    optuna_host: str = ""
    optuna_port: int = 3306
    optuna_user: str = ""
    optuna_password: Secret = Secret("")  # noqa: RUF009 — never mutated
    optuna_database: str = ""
    optuna_tls_ca: str = ""
    artifacts_url: str = ""
    checkpoints_dir: str = ""
    logs_dir: str = ""
    aws_access_key_id: str = ""
    aws_secret_access_key: Secret = Secret("")  # noqa: RUF009
    aws_default_region: str = ""
    aws_endpoint_url: str = ""
    mlflow_tracking_uri: str = ""
    ehrbench_data: str = ""
    registry_webhook: Secret = Secret("")  # noqa: RUF009 — its address is often all that guards it
    monitor_webhook: Secret = Secret("")  # noqa: RUF009 — likewise

    @staticmethod
    def read(env_file: Path | None = Path(".env"), environ: Mapping[str, str] | None = None) -> Environment:
        """Settings of the process's environment (or ``environ``) over those of ``env_file``, if it exists.

        Raises ConfigError naming the variable that cannot be used.
        """
        file = _variables(env_file) if env_file and env_file.is_file() else {}
        found: dict[str, object] = {}
        for field in fields(Environment):
            name = field.name.upper()
            text = (environ if environ is not None else os.environ).get(name) or file.get(name) or ""
            if not text:
                continue
            refuse_bytes(name, text)
            if field.name == "optuna_port":
                found[field.name] = _port(name, text)
            elif isinstance(field.default, Secret):
                found[field.name] = Secret(text)
            elif field.name in PLACES and not is_address(text):
                found[field.name] = str(home(text, name))
            else:
                found[field.name] = text
            if field.name in ADDRESSES:
                refuse_password(name, text, ADDRESSES[field.name])
        return Environment(**found)  # type: ignore[arg-type]

    @staticmethod
    def load(env_file: Path, environ: MutableMapping[str, str]) -> Environment:
        """Put what ``env_file`` says into ``environ``, where that says nothing, for all that reads it later.

        Empty variables are taken out, so that a configuration's ``oc.env`` finds its default. Raises
        ConfigError naming the variable that cannot be used.
        """
        file = _variables(env_file) if env_file.is_file() else {}
        environ.update({name: text for name, text in file.items() if text and not environ.get(name)})
        for field in fields(Environment):
            if environ.get(field.name.upper()) == "":
                del environ[field.name.upper()]
        return Environment.read(None, environ)

    def require(self, *names: str) -> None:
        """Raise ConfigError naming the first of these fields that is not set."""
        for name in names:
            if not getattr(self, name):
                raise ConfigError(name.upper(), "is not set", "set it in the environment or in .env")

    def object_store_options(self) -> dict[str, object]:
        """Keyword arguments for fsspec's S3 file system: empty ones are left to its own look-up."""
        options: dict[str, object] = {}
        if self.aws_access_key_id:
            options |= {"key": self.aws_access_key_id, "secret": self.aws_secret_access_key.reveal()}
        if self.aws_endpoint_url:
            options["endpoint_url"] = self.aws_endpoint_url
        if self.aws_default_region:
            options["client_kwargs"] = {"region_name": self.aws_default_region}
        return options


def refuse_password(key: str, address: str, place: str) -> None:
    """Raise ConfigError for ``user:password@`` in an address: those are shown, logged and written down."""
    if re.search(r"://[^/?#]*@|://[^/@:]+:\D[^@]*@", address):
        raise ConfigError(
            key,
            "holds a user or password, and addresses are shown",
            f"use {place} in the environment or .env",
        )


def refuse_bytes(key: str, text: str) -> None:
    """Raise ConfigError for what reached Python as bytes of no text, in the locale's encoding."""
    if not text.isascii() and re.search("[\ud800-\udfff]", text):
        problem = f"is no text in {sys.getfilesystemencoding()}, the encoding of this locale"
        raise ConfigError(key, problem, "name it in UTF-8, under a locale such as LC_ALL=C.UTF-8")


def _variables(env_file: Path) -> dict[str, str | None]:
    """What the file sets; ConfigError for one that is not UTF-8. No value is shown: it may be a password."""
    remedy = "save it as UTF-8 text"
    try:
        content = env_file.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        raise ConfigError(str(env_file), problem, "mend its rights, or move it away") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(str(env_file), f"line {line} is not UTF-8", remedy) from None
    if "\0" in text:
        raise ConfigError(str(env_file), "is not UTF-8 (it holds NUL, as UTF-16 does)", remedy)
    return dotenv_values(stream=io.StringIO(text), interpolate=False)


def _port(name: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or not 0 < int(text) < 65536:
        raise ConfigError(name, f"{text!r} is not a port", "give a number from 1 to 65535")
    return int(text)
