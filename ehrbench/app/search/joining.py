"""Joining: ``python -m ehrbench.app.search.joining FILE``, a local worker of a search begun here.

It is given the composed configuration itself, as JSON: the command that began the search may be one of a
sweep's jobs, or a cell of a notebook, and could not be run again by another.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omegaconf import OmegaConf

from ehrbench.app.composed.blocks import Settings
from ehrbench.app.composed.checking import recorded
from ehrbench.app.composed.entry import begin, guarded

_MODULE = "ehrbench.app.search.joining"


@contextmanager
def joining(settings: Settings) -> Iterator[list[str]]:
    """Arguments of a Python process that joins the search of a checked configuration, while it lasts."""
    with tempfile.TemporaryDirectory(prefix="ehrbench-") as folder:  # nobody else's to read
        file = Path(folder) / "search.json"
        file.write_text(json.dumps(recorded(settings)), encoding="utf-8")
        yield ["-m", _MODULE, str(file)]


def main(path: Path) -> None:
    begin()
    from ehrbench.app.search import searching

    guarded(searching.work, OmegaConf.create(json.loads(path.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
