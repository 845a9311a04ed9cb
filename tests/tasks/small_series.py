"""Four records of a long table, with labels and descriptors, for the tests of a person's own series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ehrbench.core.task import Cohort
from ehrbench.features.events import Events
from ehrbench.publishers.own_series_files import OwnSeriesFiles
from ehrbench.tasks.own_series import OwnSeries

LONG = ["id,time,variable,value"] + [
    f"{who},{hour},{name},{value}"
    for who in ("a", "b", "c", "d")
    for hour, name, value in ((0, "HR", 80), (1.5, "HR", 90), (700, "HR", 70), (2, "K", 4.1))
]
PATIENTS = ["id,age,ward", "a,60,icu", "b,70,eye", "c,,icu", "d,50,"]
OUTCOMES = ["id,died", "a,yes", "b,no", "c,yes", "d,no"]


def publisher_of(
    folder: Path,
    long: list[str] | None = None,
    labels: list[str] | None = None,
    patients: list[str] | None = None,
    **settings: Any,
) -> OwnSeriesFiles:
    """On files of these lines; an empty list of patients is no table of descriptors."""
    written = {}
    for name, lines, standard in (
        ("long", long, LONG),
        ("labels", labels, OUTCOMES),
        ("patients", patients, PATIENTS),
    ):
        if lines != []:
            written[name] = folder / f"{name}.csv"
            written[name].write_text("\n".join(standard if lines is None else lines) + "\n")
    task = OwnSeries(**{"label": "died", "horizon_hours": 800, **settings})
    return OwnSeriesFiles(
        task,
        str(written["long"]),
        None,
        str(written["labels"]),
        str(written["patients"]) if "patients" in written else None,
    )


def read(folder: Path, *lines: list[str] | None, **settings: Any) -> tuple[OwnSeries, Cohort]:
    publisher = publisher_of(folder, *lines, **settings)
    task = publisher.settle(folder)
    assert isinstance(task, OwnSeries)
    return task, publisher.cohort(folder, ())


def events_in(cohort: Cohort, who: str) -> set[tuple[str, int, float]]:
    events = cohort.records.payload
    assert isinstance(events, Events)
    one = events.take(np.flatnonzero(cohort.records.ids == who))
    names = [one.parameters[code] for code in one.parameter]
    return set(zip(names, one.minute.tolist(), one.value.round(3).tolist(), strict=True))
