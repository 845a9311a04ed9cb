"""Joining: ``python -m ehrbench.app.joining FILE``, a local worker of a search that Python began.

A script's workers are further processes of its command; a notebook has none, so that its workers are given
the configuration itself, as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from omegaconf import OmegaConf

from ehrbench.app.entry import begin, guarded

MODULE = "ehrbench.app.joining"


def main(path: Path) -> None:
    begin()
    from ehrbench.app import searching

    guarded(searching.work, OmegaConf.create(json.loads(path.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
