"""Opening a bundle's files: what cannot be read or must not be imported becomes a BundleError naming it."""

from __future__ import annotations

import importlib
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ehrbench.core.bundle import check_checksums
from ehrbench.core.errors import BundleError
from ehrbench.core.files import CHECKSUMS
from ehrbench.core.plugins import NAMED, brings

T = TypeVar("T")


def check_files(root: Path) -> None:
    """Raise BundleError naming the first file of the bundle that is missing, altered or unlisted."""
    if not root.is_dir():
        raise BundleError(f"{root}: no such folder — name the folder of a bundle, such as runs/STUDY/bundle")
    try:
        check_checksums(root)
    except (
        ValueError,
        AttributeError,
        TypeError,
    ) as error:  # bytes that are no text, JSON that is no mapping
        raise BundleError(f"{root / CHECKSUMS}: cannot be read — copy the bundle again, whole") from error


def read_file(path: Path, reader: Callable[[Path], T]) -> T:
    """``reader(path)``, with whatever it stumbles over told as a BundleError naming the file."""
    try:
        return reader(path)
    except BundleError as error:
        whole = str(error) if str(path.parent) in str(error) else f"{path.parent}/{error}"
        raise BundleError(whole) from error
    except FileNotFoundError as error:
        raise BundleError(f"{path}: missing — copy the bundle again, whole") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise BundleError(f"{path}: cannot be read ({reason}) — export the bundle again") from error


def build(file: Path, path: str, settings: Mapping[str, Any], package: str, base: type) -> Any:
    """An instance of the class at an import path that ``file`` names.

    It must lie under ``package``, or in a plugin of this machine, and derive from ``base``: a bundle is data
    and may not choose what runs.
    """
    own = re.fullmatch(rf"{re.escape(package)}(\.[A-Za-z]\w*)+", path)
    if not (own or (re.fullmatch(r"\w+(\.[A-Za-z_]\w*)+", path) and brings(path))):
        raise BundleError(
            f"{file}: {path!r} does not lie under {package}; nothing else is ever imported — if it is a "
            f"plugin's, install that, or say {NAMED}={path.partition('.')[0]}"
        )
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise BundleError(
            f"{file}: {path} cannot be imported ({error}) — use the version that exported it"
        ) from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise BundleError(f"{file}: {path} is not a {base.__name__}")
    try:
        return found(**settings)
    except (TypeError, ValueError) as error:
        raise BundleError(f"{file}: {path} does not take these settings ({error})") from error
