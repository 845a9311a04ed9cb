"""The terminal: progress bars where there is one, plain lines where there is none (logs, CI).

No text is searched for markup, since texts hold paths and names, which may hold anything; what is coloured is
a ``Text``. Commands are printed as a shell takes them.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichBars
from rich.table import Table
from rich.text import Text

from ehrbench.core.progress import Progress, Step

if TYPE_CHECKING:
    from ehrbench.core.metric import Metric

#: A plain log repeats a step's remark at most this often, in seconds.
QUIET_S = 30.0
#: Columns of a table in a log.
LOG_WIDTH = 160


class _Bar:
    def __init__(self, bars: RichBars, task: TaskID) -> None:
        self._bars, self._task = bars, task

    def advance(self, amount: float = 1) -> None:
        self._bars.advance(self._task, amount)

    def note(self, text: str) -> None:
        self._bars.update(self._task, note=text)


class Bars:
    """Progress as live bars; finished steps leave one line."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
        )
        self._bars = RichBars(*columns, console=console, transient=True)
        self._depth = 0

    @contextmanager
    def step(self, label: str, total: float | None = None) -> Iterator[Step]:
        if self._depth == 0:
            self._bars.start()
        self._depth += 1
        task = self._bars.add_task(label, total=total, note="")
        began = time.monotonic()
        try:
            yield _Bar(self._bars, task)
            if time.monotonic() - began > 1:
                took = f" {time.monotonic() - began:.1f} s"
                self._console.print(Text.assemble(("✓", "green"), f" {label}", (took, "dim")))
        finally:
            self._bars.remove_task(task)
            self._depth -= 1
            if self._depth == 0:
                self._bars.stop()


class _Lines:
    def __init__(self, label: str, total: float | None) -> None:
        self._label, self._total, self._done, self._said = label, total, 0.0, time.monotonic()

    def advance(self, amount: float = 1) -> None:
        self._done += amount

    def note(self, text: str) -> None:
        if time.monotonic() - self._said > QUIET_S:
            self._said = time.monotonic()
            of = "" if self._total is None else f" {self._done:g}/{self._total:g}"
            print(f"  {self._label}{of}  {text}", file=sys.stderr, flush=True)


class Lines:
    """Progress as plain lines."""

    @contextmanager
    def step(self, label: str, total: float | None = None) -> Iterator[Step]:
        began = time.monotonic()
        yield _Lines(label, total)
        if time.monotonic() - began > 1:
            print(f"✓ {label} {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)


def terminal() -> tuple[Console, Progress]:
    """The console on standard error, and the progress display it can carry."""
    console = plain_console(stderr=True)
    return console, Bars(console) if console.is_terminal else Lines()


def plain_console(*, stderr: bool = False) -> Console:
    """A console that prints texts as they are, in a log as wide as its tables."""
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = LOG_WIDTH
    return console


def leaderboard(
    console: Console,
    title: str,
    rows: Sequence[tuple[str, Mapping[str, Mapping[str, object]]]],
    metrics: Sequence[Metric],
) -> None:
    """A table of models (best first) by metrics, each as mean and 95 % interval."""
    table = Table(title=title, title_justify="left")
    table.caption, table.caption_justify = "↓ lower is better; what each metric is: docs/metrics.md", "left"
    table.add_column("model")
    for metric in metrics:
        lower = metric.ideal is None and not metric.greater_is_better
        table.add_column(metric.name + " ↓" * lower, justify="right")
    for name, results in rows:
        table.add_row(name, *(_cell(results.get(metric.name, {})) for metric in metrics))
    console.print(table)


def shown(path: Path) -> str:
    """A place as seen from here, where it lies below, else in full."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def command(name: str, *arguments: str | Path) -> str:
    """How to call one of this environment's commands: by its path where the PATH does not lead to it."""
    here = Path(sys.executable).with_name(name)
    called = name if shutil.which(name) == str(here) else os.path.relpath(here)
    return shlex.join([called, *(shown(a) if isinstance(a, Path) else a for a in arguments)])


def comparing(uri: str) -> str:
    """Where the runs of an MLflow store are compared: its server, or what opens a local one."""
    if uri.startswith(("http://", "https://")):
        return uri
    return command("mlflow", "ui", "--backend-store-uri", uri)


def _cell(result: Mapping[str, object]) -> Text:
    if "mean" not in result:
        return Text("–")
    interval = result.get("interval")
    bounds = ""
    if isinstance(interval, Mapping) and interval.get("low") is not None:
        bounds = f" ({_number(interval['low'])}–{_number(interval['high'])})"
    return Text.assemble(_number(result["mean"]), (bounds, "dim"))


def _number(value: object) -> str:
    """Four decimals of what lies between 0 and 1, as most metrics do; one of what may be large."""
    assert isinstance(value, int | float)
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"
