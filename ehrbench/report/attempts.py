"""Attempts: what comes after the studies may lose a part, with the reason in its place, and never the run.

When a page is drawn, days of training may lie behind it. A figure, a section or a file of explanations that
cannot be made is a fault of ours that nobody else can mend, so the page is written without it: the reason
stands where the part would stand, and the traceback in ``failures/<part>.txt`` of the run's folder, to be
reported. It is the one place that takes any exception for that. What a user can mend (EhrbenchError: an
altered file, a full disk) goes on as it is.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from ehrbench.core.errors import EhrbenchError
from ehrbench.core.run_folder import FAILURES
from ehrbench.report.figure import Figure
from ehrbench.report.rendering import write_page

#: What an exception may quote of the data: a page may be shown to anybody.
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|\d{4,}")

T = TypeVar("T")


class Attempts:
    """Those at one run's folder. lost: part -> why it is not there.

    prefix: of the files' names, so that each command writes its own again and no other's.
    """

    def __init__(self, folder: Path, prefix: str = "") -> None:
        self._folder, self._prefix = Path(folder) / FAILURES, prefix
        self.lost: dict[str, str] = {}

    def part(
        self,
        name: str,
        make: Callable[[], T],
        without: Callable[[str], T],
        through: tuple[type[Exception], ...] = (),
    ) -> T:
        """``make()``, or ``without(why)`` where it fails; ``through``: exceptions that the caller knows."""
        trace = self._folder / f"{self._prefix}{name}.txt"
        try:
            made = make()
        except Exception as error:
            if isinstance(error, (EhrbenchError, *through)):
                raise
            said = _QUOTED.sub("…", str(error).split("\n")[0])[:200]
            why = f"it could not be made ({type(error).__name__}: {said}); see {FAILURES}/{trace.name}"
            self.lost[name] = why
            write_page(trace, traceback.format_exc())
            return without(why)
        self._forget(trace)
        return made

    def figure(
        self, name: str, make: Callable[[], Figure], through: tuple[type[Exception], ...] = ()
    ) -> Figure:
        """A figure, or one that says why there is none."""
        title = name.replace("-", " ").capitalize()
        return self.part(
            name, make, lambda why: Figure(name, title, "", why=f"{why[0].upper()}{why[1:]}."), through
        )

    def _forget(self, trace: Path) -> None:
        """What failed once and no longer does."""
        with suppress(OSError):  # mostly there is none; and what is left there keeps its folder
            trace.unlink()
            self._folder.rmdir()


def failures(folder: Path) -> list[Path]:
    """Tracebacks of the parts that a run's folder lacks."""
    return sorted((Path(folder) / FAILURES).glob("*.txt"))
