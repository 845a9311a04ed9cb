"""Task: what is particular to one prediction problem; Publisher: where its labelled records come from.

A task is one file (or folder) under ``ehrbench/tasks`` and one YAML under ``conf/task``. Training and the
server go through the same ``parse``, so a posted record and a training record cannot differ. The server
imports tasks; publishers, which know files, downloads and simulations, only a search.

Thread safety: ``parse`` may be called from several threads at once; it keeps no state.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from ehrbench.core.digest import digest
from ehrbench.core.errors import DataError
from ehrbench.core.progress import SILENT, Progress
from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray, IntArray, StrArray
from ehrbench.core.views import Table

#: Offline, bad rows are skipped and listed; a larger share of them stops the run.
MOST_BAD_ROWS = 0.001
_THINGS = re.compile(r"\b(?:(an?|An?) )?([Rr]ecords?|[Uu]nits?)\b(?!\.csv)")


@dataclass(frozen=True)
class Form:
    """A form in which raw records come as files, beside JSON.

    endings: of file names, with the dot; media_types: as HTTP calls it, ``*`` for any subtype.
    many: one file holds any number of records, so that of a lost one nobody knows how many it held.
    """

    title: str
    endings: tuple[str, ...]
    media_types: tuple[str, ...]
    many: bool = False


@dataclass(frozen=True)
class Words:
    """What a task's things are called on pages and in messages.

    record, unit: in the singular, with their plurals. set: what a publisher's parts are.
    time: the axis of a course ("hours since admission"); "" where records have none.
    """

    record: str = "record"
    records: str = "records"
    unit: str = "unit"
    units: str = "units"
    set: str = "set"
    time: str = ""

    def said(self, text: str) -> str:
        """A text about records and units in these words; names of files stay."""
        own = {"record": self.record, "records": self.records, "unit": self.unit, "units": self.units}

        def word(found: re.Match[str]) -> str:
            article, noun = found.groups()
            said = own[noun.lower()]
            said = said[0].upper() + said[1:] if noun[0].isupper() else said
            return said if article is None else f"{article[0]}{'n' * (said[0] in 'aeiou')} {said}"

        return _THINGS.sub(word, text)


@dataclass(frozen=True)
class RawInput:
    """One raw record: the publisher's file as bytes, or its JSON form as a mapping."""

    name: str
    body: bytes | Mapping[str, Any]


@dataclass(frozen=True)
class Skipped:
    """One row or file left out of the records, and why."""

    file: str
    record: str
    field: str
    problem: str


@dataclass(frozen=True)
class Parsed:
    """What ``Task.parse`` returns: records without labels, and what was skipped of ``n_rows`` rows.

    n_lost: records that are not among ``records`` because they could not be read at all.
    """

    records: Records
    skipped: tuple[Skipped, ...] = ()
    n_rows: int = 0
    n_lost: int = 0


@dataclass(frozen=True)
class Cohort:
    """Labelled records as a study sees them, and where they come from.

    label: ``"publisher"`` or ``"simulated"``; stands on every run and figure made from it.
    flow: what came in and what was dropped, in order, for the report's data flow: name -> count.
    set_of: (N,) the set each record came from; may be left out where there is one set.
    time_of: (N,) days since 2000-01-01 of each record, NaN where unknown; empty where the task has no time.
    notes: what was guessed of the data, or looks odd in them, for the person who searches.
    """

    records: Records
    sets: tuple[str, ...]
    label: str = "publisher"
    skipped: tuple[Skipped, ...] = ()
    flow: Mapping[str, int] = field(default_factory=dict)
    set_of: StrArray = field(default_factory=lambda: np.zeros(0, dtype=np.str_))  # (N,)
    notes: tuple[str, ...] = ()
    time_of: FloatArray = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        if len(self.sets) == 1 and not len(self.set_of):
            object.__setattr__(self, "set_of", np.full(len(self.records), self.sets[0]))
        if len(self.set_of) != len(self.records):
            raise ValueError(f"set_of has {len(self.set_of)} entries for {len(self.records)} records")

    def take(self, index: IntArray) -> Cohort:
        """The records at ``index``, in that order."""
        times = self.time_of[index] if len(self.time_of) else self.time_of
        return replace(self, records=self.records.take(index), set_of=self.set_of[index], time_of=times)

    def check(self, target: Target, where: object) -> None:
        """DataError naming the first record that has no id of its own, or whose labels are none.

        where: what the message calls the place that they were read from.
        """
        ids = self.records.ids.astype(str)
        for values, what in ((ids, "id"), (self.records.groups.astype(str), "group")):
            for place in np.flatnonzero(values == "")[:1]:
                problem = f"record number {place + 1:,} of those read has no {what}"
                raise DataError(problem, file=where, remedy=f"give every record its {what}")
        _, first, number = np.unique(ids, return_index=True, return_inverse=True)
        repeated = np.flatnonzero(first[number] != np.arange(len(ids)))
        if len(repeated):
            again, before = repeated[0], first[number[repeated[0]]]
            problem = f"stands twice, as number {before + 1:,} and {again + 1:,} of the records read"
            more = f" ({len(repeated):,} of {len(ids):,} repeat another's id)" * (len(repeated) > 1)
            remedy = "give every record an id of its own, or keep one of them"
            raise DataError(problem + more, file=where, record=ids[again], remedy=remedy)
        if self.records.target is None:
            raise DataError("the records have no labels", file=where, remedy="give their outcomes")
        owner = ids[self.records.unit_record]
        target.check_labels(self.records.labels, where, owner)
        for name, label in self.records.auxiliary.items():
            akin = Target("binary", (f"auxiliary.{name}",))
            akin.check_labels(label[:, None], where, owner)

    @property
    def digest(self) -> str:
        """Identifies ids, groups, payloads and labels (auxiliary ones, too) of all records, in order."""
        r = self.records
        target = np.zeros(0) if r.target is None else r.target
        auxiliary = (list(r.auxiliary), r.auxiliary_labels) if r.auxiliary else ()
        return digest(r.ids.astype(str), r.groups.astype(str), r.digests, r.n_units, target, *auxiliary)


class Task(ABC):
    """One prediction problem. Construction reads nothing; configuration arrives as keyword arguments."""

    name: ClassVar[str]
    target: Target
    #: Metric searched by default, and all that are reported, by their file names under ``ehrbench/metrics``.
    metric: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    #: Forms that ``parse`` reads, the example's first.
    forms: ClassVar[tuple[Form, ...]]
    words: ClassVar[Words] = Words()
    #: Units of its variables and subgroups, for people: name -> "mg/dL". What has none, or has it in its
    #: name, is left out.
    units: Mapping[str, str] = MappingProxyType({})
    #: A record's units follow each other (the beats of a recording), so that calls may be mended along it.
    ordered: ClassVar[bool] = False
    #: Problems of rows that the publisher's own files have: skipped even when strict, and no fault of a file.
    harmless: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def parse(self, inputs: Sequence[RawInput], *, strict: bool) -> Parsed:
        """Raw inputs to records without labels, in order.

        ``strict`` (the server): the first bad field raises DataError naming it. Otherwise bad rows are
        skipped, counted and listed.
        """

    @abstractmethod
    def raw_schema(self) -> dict[str, Any]:
        """JSON schema of the JSON form of one raw record, with an example that ``parse`` accepts."""

    @abstractmethod
    def example(self) -> RawInput:
        """One raw record in the publisher's own format, that ``parse`` accepts."""

    def settings(self) -> dict[str, Any]:
        """Construction arguments that the data settled, beside those of the configuration."""
        return {}

    @abstractmethod
    def describe(self, records: Records) -> Table:
        """(N, F) what is known of each record, in a person's terms and units, NaN where nothing is.

        For the cohort's table, for slices, for drift; nothing is predicted from it.
        """

    def check_skipped(self, parsed: Parsed, remedy: str, most: float = MOST_BAD_ROWS) -> None:
        """DataError naming the first fault where more than ``most`` of the rows or records were skipped."""
        faults = [skipped for skipped in parsed.skipped if skipped.problem not in self.harmless]
        n_records = len(parsed.records) + parsed.n_lost
        if len(faults) <= most * parsed.n_rows and parsed.n_lost <= most * n_records:
            return
        raise DataError(
            f"{faults[0].problem}; faulty rows: {len(faults):,} of {parsed.n_rows:,}, "
            f"lost records: {parsed.n_lost:,} of {n_records:,}",
            file=faults[0].file,
            record=faults[0].record,
            field=faults[0].field,
            remedy=remedy,
        )


class Publisher(ABC):
    """Where the labelled records of a task come from. Built with the task; construction reads nothing."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def settle(self, root: Path, progress: Progress = SILENT) -> Task:
        """The task as the data make it, where columns or classes are theirs to say; else as it was built."""
        return self.task

    @abstractmethod
    def default_sets(self) -> tuple[str, ...]:
        """The sets that ``read`` takes when none are named."""

    @abstractmethod
    def read(self, root: Path, sets: Sequence[str], progress: Progress = SILENT) -> Cohort:
        """Labelled records of the named sets under the data folder ``root`` (publisher's layout).

        Raises DataError naming file, record and field when data are missing, truncated, malformed, or when
        more than ``MOST_BAD_ROWS`` of the rows had to be skipped.
        """

    def cohort(self, root: Path, sets: Sequence[str], progress: Progress = SILENT) -> Cohort:
        """What ``read`` gives, checked as every cohort must be, right away: what every entry point calls."""
        cohort = self.read(root, sets, progress)
        cohort.check(self.task.target, root)
        return cohort

    def with_contents(
        self, root: Path, place: Path, donors: Mapping[str, str]
    ) -> tuple[Publisher, Path] | None:
        """The same source, each record of ``donors`` with another's content, as a publisher and its root.

        Ids, groups and outcomes stay where they are. ``certify`` reads it: what ``read`` makes of a content
        may rest on no outcome, and on no other record. donors: id -> id of a record of the same set.
        place: an empty folder for what has to be written. None: nobody has said what is content there.
        """
        return None

    @abstractmethod
    def download(self, root: Path, source: str | None = None, progress: Progress = SILENT) -> None:
        """Fetch the publisher's files into ``root``: resumable, checked; ``source`` is another base URL."""

    @abstractmethod
    def simulate(self, root: Path, n_records: int, seed: int, progress: Progress = SILENT) -> None:
        """Write a simulated cohort in the publisher's own format, marked so that ``read`` labels it."""
