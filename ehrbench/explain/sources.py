"""Sources: what each input of a model speaks of, and whether of a value or of missingness.

A measurement tells two things: its value, and that somebody took it (when, how often). Missingness is
evidence of its own in hospital data (Agniel, Kohane & Weber 2018, BMJ 361:k1479: that a laboratory test was
ordered, and when, often says more than its result), and a reader must be able to tell the two apart.
Featurizers say which parameter a column speaks of (``View.parameter_of``) and name it

    <parameter>[.<statistic>[@<window>]]    HR.mean, Lactate.count@36-48, Age.descriptor, Age
    <parameter>=<level>                     GenHlth=3
    <column>.missing                        an indicator

(a parameter's own name may hold any of these marks), and a ``Sequence`` has a mask beside its values. Counts,
times of measurement, indicators and masks are missingness; the rest are values. A column computed from
several parameters (``features.clinical``) is a source of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from ehrbench.core.views import Sequence, Signal, Table, View

#: Statistics that say whether and when, not what.
TIMINGS = frozenset({".count", ".first_hour", ".last_hour", ".delta"})


class Source(NamedTuple):
    """One parameter, by value or by missingness."""

    parameter: str
    kind: Literal["value", "missingness"]


def source(column: str, parameter: str) -> Source:
    """What a column of that name, which speaks of this parameter, says of it."""
    told = column.removeprefix(parameter)
    is_missingness = told.endswith(".missing") or told.partition("@")[0] in TIMINGS
    return Source(parameter, "missingness" if is_missingness else "value")


def sources(view: View) -> Mapping[str, tuple[Source, ...]]:
    """Array name -> source of each place on its last axis; without arrays that are no evidence (times).

    Empty for a view that does not name its columns.
    """
    match view:
        case Table():
            names = {"values": view.names}
        case Sequence():
            names = {"values": view.channels, "mask": view.channels, "static": view.descriptors}
        case Signal():
            names = {"values": view.channels}
        case _:
            return {}
    of = view.parameter_of
    named = {array: tuple(source(name, of.get(name, name)) for name in row) for array, row in names.items()}
    if isinstance(view, Sequence):
        named["mask"] = tuple(Source(one.parameter, "missingness") for one in named["values"])
    arrays = view.arrays()
    return named if all(len(found) == arrays[name].shape[-1] for name, found in named.items()) else {}
