"""Places: files and folders as the command line names them."""

from __future__ import annotations

import argparse
from pathlib import Path


def place(text: str) -> Path:
    """The path; an empty one, which an unset variable leaves, would be the current folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty — give a file or folder, . for the current one")
    return Path(text)
