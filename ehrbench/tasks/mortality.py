"""Mortality: death in hospital from the first 48 hours of intensive care (PhysioNet/CinC Challenge 2012).

Silva et al., "Predicting in-hospital mortality of ICU patients: the PhysioNet/Computing in Cardiology
Challenge 2012", Computing in Cardiology 39, 2012. Open Data Commons Attribution License 1.0.

What each value must be to be believed stands in ``physionet2012.cleaning``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ehrbench.core.errors import ConfigError
from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.task import Form, Parsed, RawInput, Task, Words
from ehrbench.core.types import StrArray
from ehrbench.core.views import Table
from ehrbench.features.events import Events
from ehrbench.tasks.measures import units_of
from ehrbench.tasks.physionet2012 import example_stay
from ehrbench.tasks.physionet2012.cleaning import DESCRIPTORS, SERIES
from ehrbench.tasks.physionet2012.patients import LOST, Patients, parse_patients
from ehrbench.tasks.physionet2012.record_json import record_schema
from ehrbench.tasks.physionet2012.record_text import DESCRIPTOR_NAMES, EMPTY_NAME, LAST_MINUTE
from ehrbench.tasks.raw_files import LEFT_OUT
from ehrbench.tasks.stays import described

_AGE_TOPS = np.array([40, 55, 65, 75, 85, np.inf])
_AGE_BANDS = np.array(["under 40", "40-54", "55-64", "65-74", "75-84", "85 and over", "unknown"])
_SEXES = np.array(["unknown", "female", "male"])  # by 0 and 1
_ICU_TYPES = np.array(["unknown", "coronary care", "cardiac surgery", "medical", "surgical"])  # by 1 to 4


class Mortality(Task):
    """Binary task over ``Events``; one unit a patient.

    hours: measurements after this hour are not looked at (48: all); less, to predict earlier.
    """

    name: ClassVar[str] = "mortality"
    target = Target("binary", ("death",))
    metric: ClassVar[str] = "auroc"
    metrics: ClassVar[tuple[str, ...]] = (
        "auroc", "auprc", "event1", "event2", "brier", "log_loss", "sensitivity", "specificity", "f1",
        "balanced_accuracy", "net_benefit", "calibration_slope", "calibration_intercept", "ece",
    )  # fmt: skip
    forms: ClassVar[tuple[Form, ...]] = (Form("the publisher's text file", (".txt",), ("text/*",)),)
    words: ClassVar[Words] = Words(
        *("patient", "patients", "patient", "patients", "hospital"), "hours since admission"
    )
    units = units_of((*SERIES, *DESCRIPTORS)) | {"age_band": "years"}
    harmless: ClassVar[frozenset[str]] = frozenset({EMPTY_NAME}) | LEFT_OUT

    def __init__(self, hours: float = 48) -> None:
        if isinstance(hours, bool) or not isinstance(hours, int | float) or not 0 < hours <= LAST_MINUTE / 60:
            raise ConfigError(
                "task.build.hours", f"{hours!r} is not in (0, 48]", "the publisher gives 48 hours"
            )
        self.hours = float(hours)

    def parse(self, inputs: Sequence[RawInput], *, strict: bool) -> Parsed:
        return parsed_patients(parse_patients(inputs, hours=self.hours, strict=strict))

    def raw_schema(self) -> dict[str, Any]:
        return record_schema() | {"examples": [example_stay.as_json()]}

    def example(self) -> RawInput:
        return RawInput("example.txt", example_stay.as_text())

    def describe(self, records: Records) -> Table:
        """Descriptors, and a few statistics of each series over the whole window."""
        assert isinstance(records.payload, Events)
        return described(records.payload, self.hours)


def parsed_patients(patients: Patients) -> Parsed:
    """Patients as records without labels."""
    records = _records(patients.ids, patients.events)
    return Parsed(records, patients.skipped, patients.n_rows, patients.flow[LOST])


def _records(ids: StrArray, events: Events) -> Records:
    age, sex, icu = (events.descriptors[:, DESCRIPTOR_NAMES.index(d)] for d in ("Age", "Gender", "ICUType"))
    return Records(
        ids=ids,
        groups=ids,
        payload=events,
        n_units=np.ones(len(ids), dtype=np.int64),
        subgroups={
            "sex": _SEXES[np.nan_to_num(sex + 1).astype(np.int64)],
            "age_band": _AGE_BANDS[np.searchsorted(_AGE_TOPS, age, side="right")],  # NaN: behind all
            "icu_type": _ICU_TYPES[np.nan_to_num(icu).astype(np.int64)],
        },
        flags={"no_measurements": events.n_events == 0},
    )
