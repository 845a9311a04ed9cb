"""Rows of the publisher's files that were left out, by reason: ``skipped.csv`` without its records."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ehrbench.core.run_folder import SKIPPED
from ehrbench.report.run import Run, read_table

#: Reasons listed by themselves; the rest share a line.
MOST = 15
_VALUE = re.compile(r"""^('.*'|".*"|[-+]?[\d.]+(e[-+]?\d+)?)(?= )""", re.DOTALL)
_NUMBER = re.compile(r"(?<![A-Za-z\d])\d+")


@dataclass(frozen=True)
class Reason:
    """Rows with one kind of fault. Neither record nor value is named: the page may be shown to anybody."""

    field: str
    problem: str
    rows: int
    records: int


def reasons(run: Run) -> list[Reason]:
    """Most frequent first, at most ``MOST`` and one for all the others.

    Raises BundleError when skipped.csv is missing or malformed.
    """
    table = read_table(run.folder / SKIPPED, ("file", "record", "field", "problem"))
    table["field"] = [_NUMBER.sub("…", text).removesuffix(" in line …") for text in table["field"]]
    table["problem"] = [_VALUE.sub("a value", text) for text in table["problem"]]
    table["who"] = table["file"] + "\n" + table["record"]
    found = [
        Reason(str(field), str(problem), len(rows), rows["who"].nunique())
        for (field, problem), rows in table.groupby(["field", "problem"])
    ]
    found.sort(key=lambda reason: (-reason.rows, reason.field, reason.problem))
    listed, rest = found[:MOST], found[MOST:]
    if not rest:
        return listed
    others = table[
        ~table[["field", "problem"]].apply(tuple, axis=1).isin({(r.field, r.problem) for r in listed})
    ]
    return [*listed, Reason("others", f"{len(rest)} further reasons", len(others), others["who"].nunique())]
