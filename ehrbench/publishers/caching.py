"""What may lie beside a publisher's files: the cache of parsed records, so that a second start is quick."""

from __future__ import annotations

import os
from pathlib import Path

from ehrbench.core.places import place

#: Set to a folder to keep caches there; set empty to keep none.
VARIABLE = "EHRBENCH_CACHE"


def holds_real_files(folder: Path) -> bool:
    """Whether anything lies there but hidden entries (a cache) and unfinished downloads."""
    return folder.is_dir() and any(
        not p.name.startswith(".") and not p.name.endswith(".part") for p in folder.iterdir()
    )


def cache_folder(root: Path) -> Path | None:
    """``$EHRBENCH_CACHE``, else ``<root>/.cache``, else the user's own where root is read-only.

    None where the variable is set to nothing, or the user has no home: keep no cache.
    """
    named = os.environ.get(VARIABLE)
    if named is not None:
        return place(named, VARIABLE) if named else None
    if os.access(root, os.W_OK):
        return root / ".cache"
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ehrbench"
    except RuntimeError:  # a container's numeric user, of whom the system knows nothing
        return None
