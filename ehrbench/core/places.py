"""Places: files and folders as people name them, and how everything here takes them.

One rule for the command line, configurations, the environment and ``.env``: a ``~`` in front is the home
folder, ``~name`` another user's, whether a shell has filled it in or not; a name that begins with it is
written ``./~name``. Nothing is looked up, followed or made.
"""

from __future__ import annotations

import os
from pathlib import Path

from ehrbench.core.errors import ConfigError

#: That file systems take for one name.
NAME_BYTES = 255


def place(text: str | Path, key: str) -> Path:
    """The place that ``text`` names, in full. Raises ConfigError, naming ``key``, for what can be none."""
    return home(text, key).absolute()


def home(text: str | Path, key: str) -> Path:
    """``place``, but what is relative stays so, as people want to see it again."""
    if not str(text).strip():  # an unset variable, where Path would name the current folder
        raise ConfigError(key, "is empty", "name a file or folder, . for the current one")
    path = Path(text)
    if "\0" in str(path):
        raise ConfigError(key, f"{str(path)!r} holds a NUL and names no file", "take it out")
    if not str(text).startswith("~"):
        path = path.absolute() if str(path).startswith("~") else path  # from which "./" was dropped
    else:
        try:
            path = path.expanduser()
        except RuntimeError as error:
            named = path.parts[0]
            problem = f"{named} is the home folder of nobody" if named != "~" else "there is no home folder"
            raise ConfigError(key, problem, f"write the folder in full, or ./{named} for a name") from error
    for part in path.parts:
        try:
            n_bytes = len(os.fsencode(part))
        except UnicodeEncodeError as error:
            problem = f"{part!r} cannot be a file's name in this machine's encoding"
            raise ConfigError(key, problem, "name another place, or set LC_ALL=C.UTF-8") from error
        if n_bytes > NAME_BYTES:
            problem = f"a name of {n_bytes} bytes is too long ({part[:20]}…)"
            raise ConfigError(key, problem, f"file systems take {NAME_BYTES}")
    return path


def is_address(text: str) -> bool:
    """Whether it is an address (``s3://…``) and no place of this machine."""
    return "://" in text


def argument(text: str) -> Path:
    """``home``, as the type of a command's argument."""
    return home(text, "command line")
