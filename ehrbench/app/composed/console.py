"""The terminal: progress bars where there is one, plain lines where there is none (logs, CI).

No text is searched for markup, since texts hold paths and names, which may hold anything; what is coloured is
a ``Text``. Commands are printed as a shell takes them.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichBars
from rich.table import Column, Table
from rich.text import Text

from ehrbench.core.progress import Progress, Step

if TYPE_CHECKING:
    from ehrbench.core.metric import Metric

#: A plain log repeats a step's remark at most this often, in seconds.
QUIET_S = 30.0
#: Columns of a terminal that has room for more than what is left.
WIDE = 100
#: Columns of a table in a log.
LOG_WIDTH = 160


class _Bar:
    def __init__(self, bars: RichBars, task: TaskID) -> None:
        self._bars, self._task = bars, task

    def advance(self, amount: float = 1) -> None:
        self._bars.advance(self._task, amount)

    def note(self, text: str) -> None:
        self._bars.update(self._task, note=text)


class _Left(TimeRemainingColumn):
    """Time left, said so; nothing where it is not known."""

    def render(self, task: Task) -> Text:
        known = task.total is not None and task.time_remaining is not None
        return Text.assemble(super().render(task), " left") if known else Text()


class Bars:
    """Progress as live bars; finished steps leave one line."""

    def __init__(self, console: Console) -> None:
        self._console = console
        wide = console.width >= WIDE
        whole = Column(no_wrap=True)
        rest = Column(no_wrap=True, overflow="ellipsis", max_width=None if wide else console.width - 52)
        columns = (
            TextColumn("{task.description}", markup=False, table_column=whole),
            BarColumn(bar_width=24 if wide else 8),
            MofNCompleteColumn(),
            *([TimeElapsedColumn()] if wide else []),
            _Left(compact=True, table_column=whole),
            TextColumn("{task.fields[note]}", style="dim", markup=False, table_column=rest),
        )
        # trials may take minutes: what is left is reckoned from an hour of them
        self._bars = RichBars(*columns, console=console, transient=True, speed_estimate_period=3600)
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
        self._first: tuple[float, float] | None = None  # time, and what was done by then

    def advance(self, amount: float = 1) -> None:
        self._done += amount
        self._first = self._first or (time.monotonic(), self._done)
        self.note("")

    def note(self, text: str) -> None:
        if time.monotonic() - self._said > QUIET_S:
            self._said = time.monotonic()
            of = "" if self._total is None else f" {self._done:g}/{self._total:g}"
            said = "  ".join(filter(None, (f"{self._label}{of}", self._left(), text)))
            print(f"  {said}", file=sys.stderr, flush=True)

    def _left(self) -> str:
        """At the pace since the first that was done: that may have been done long before."""
        if self._first is None or self._total is None or self._done <= self._first[1]:
            return ""
        pace_s = (time.monotonic() - self._first[0]) / (self._done - self._first[1])
        minutes = max(0.0, self._total - self._done) * pace_s / 60
        return f"about {minutes:.0f} min left" if minutes >= 1 else "less than a minute left"


class Lines:
    """Progress as plain lines: one for each step that has ended, and where a long one is."""

    @contextmanager
    def step(self, label: str, total: float | None = None) -> Iterator[Step]:
        began = time.monotonic()
        yield _Lines(label, total)
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
    """A table of models (best first) by metrics, each as mean and 95 % interval.

    Where the terminal is too narrow, intervals go below their means, then metrics into further tables: no
    figure is ever cut.
    """
    parts, folded = [list(metrics)], False
    if not _fits(console, rows, metrics, folded=False):
        folded, parts = True, []
        for metric in metrics:
            if parts and _fits(console, rows, [*parts[-1], metric], folded=True):
                parts[-1].append(metric)
            else:
                parts.append([metric])
    for number, part in enumerate(parts):
        table = _table(rows, part, folded=folded)
        table.title, table.title_justify = (None if number else title), "left"
        if number + 1 == len(parts):
            table.caption = "↓ lower is better; what each metric is: docs/metrics.md"
            table.caption_justify = "left"
        console.print(table)


def _fits(
    console: Console,
    rows: Sequence[tuple[str, Mapping[str, Mapping[str, object]]]],
    metrics: Sequence[Metric],
    *,
    folded: bool,
) -> bool:
    table = _table(rows, metrics, folded=folded)
    return Measurement.get(console, console.options.update(max_width=10_000), table).maximum <= console.width


def _table(
    rows: Sequence[tuple[str, Mapping[str, Mapping[str, object]]]],
    metrics: Sequence[Metric],
    *,
    folded: bool,
) -> Table:
    table = Table(show_lines=folded)
    table.add_column("model")
    for metric in metrics:
        lower = metric.ideal is None and not metric.greater_is_better
        table.add_column(metric.name + " ↓" * lower, justify="right")
    for name, results in rows:
        table.add_row(name, *(_cell(results.get(metric.name, {}), folded) for metric in metrics))
    return table


#: Columns of what is printed line by line, name and value.
LINE, NAMES = 80, 16


def line(name: str, value: object, indent: int = NAMES) -> str:
    """Name and value, folded beside the name where it is too long for ``LINE`` columns."""
    wide = textwrap.wrap(str(value), LINE - indent) or [""]
    return "\n".join([f"{name:{indent}}{wide[0]}", *(" " * indent + rest for rest in wide[1:])])


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


def _cell(result: Mapping[str, object], folded: bool) -> Text:
    if "mean" not in result:
        return Text("–")
    interval = result.get("interval")
    bounds = ""
    if isinstance(interval, Mapping) and interval.get("low") is not None:
        bounds = f"{chr(10) if folded else ' '}({_number(interval['low'])}–{_number(interval['high'])})"
    return Text.assemble(_number(result["mean"]), (bounds, "dim"))


def _number(value: object) -> str:
    """Four decimals of what lies between 0 and 1, as most metrics do; one of what may be large."""
    assert isinstance(value, int | float)
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"
