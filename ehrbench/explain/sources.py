"""Sources: what each input of a model speaks of, and whether of a value or of missingness.

A measurement tells two things: its value, and that somebody took it (when, how often). Missingness is
evidence of its own in hospital data (Agniel, Kohane & Weber 2018, BMJ 361:k1479: that a laboratory test was
ordered, and when, often says more than its result), and a reader must be able to tell the two apart.
Featurizers name their columns

    <parameter>[.<statistic>[@<window>]]    HR.mean, Lactate.count@36-48, Age.descriptor, Age
    <parameter>=<level>                     GenHlth=3
    <column>.missing                        an indicator

and a ``Sequence`` has a mask beside its values. Counts, times of measurement, indicators and masks are
missingness; the rest are values. A column computed from several parameters (``features.clinical``) is a
source of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from ehrbench.core.views import Sequence, Signal, Table, View

#: Statistics that say whether and when, not what.
TIMINGS = frozenset({"count", "first_hour", "last_hour", "delta"})


class Source(NamedTuple):
    """One parameter, by value or by missingness."""

    parameter: str
    kind: Literal["value", "missingness"]


def source(column: str) -> Source:
    """What a column of that name speaks of."""
    if column.endswith(".missing"):
        return Source(source(column.removesuffix(".missing")).parameter, "missingness")
    parameter, _, statistic = column.partition("=")[0].partition(".")
    return Source(parameter, "missingness" if statistic.partition("@")[0] in TIMINGS else "value")


def sources(view: View) -> Mapping[str, tuple[Source, ...]]:
    """Array name -> source of each place on its last axis; without arrays that are no evidence (times).

    Empty for a view that does not name its columns.
    """
    match view:
        case Table():
            named = {"values": tuple(map(source, view.names))}
        case Sequence():
            channels = tuple(map(source, view.channels))
            mask = tuple(Source(one.parameter, "missingness") for one in channels)
            named = {"values": channels, "mask": mask, "static": tuple(map(source, view.descriptors))}
        case Signal():
            named = {"values": tuple(map(source, view.channels))}
        case _:
            return {}
    arrays = view.arrays()
    return named if all(len(found) == arrays[name].shape[-1] for name, found in named.items()) else {}
