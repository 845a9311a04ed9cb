"""RR rhythm: which beats of a recording of RR intervals belong to an anomaly of the rhythm (CardioSpike).

229 Holter recordings of 32 to 3,661 beats; cardiologists marked 791 anomalies of 6 to 41 beats, 14.8 % of
60,487 beats. One label a beat, judged by F1 over beats; recordings are split whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ehrbench.core.errors import DataError
from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.task import Form, Parsed, RawInput, Task, Words
from ehrbench.core.types import FloatArray
from ehrbench.core.views import Table, offsets
from ehrbench.features.beats import Beats
from ehrbench.tasks.cardiospike import LONGEST_MS, REMEDY, Recordings, read_csv, read_json, text_of
from ehrbench.tasks.names import RECORD_ID_SCHEMA

#: Beats of a recording, in bands.
_LENGTHS = ((100, "under 100 beats"), (300, "100-299 beats"), (1000, "300-999 beats"))
#: Median heart rate of a recording, in bands; limits of brady- and tachycardia.
_RATES = ((60, "under 60 bpm"), (80, "60-79 bpm"), (100, "80-99 bpm"))
#: A quiet rhythm with a surge of the heart's rate from the 21st beat on.
_EXAMPLE = (
    *(850, 862, 874, 881, 870, 855, 846, 840, 852, 866, 878, 884, 872, 858, 849, 843, 856, 868, 880, 876),
    *(812, 744, 690, 655, 640, 662, 705, 768, 826, 861, 872, 880, 874, 860, 848, 842, 853, 867, 879, 885),
)


class RRRhythm(Task):
    """Binary task over ``Beats``; one unit a beat."""

    name: ClassVar[str] = "rr_rhythm"
    target = Target("binary", ("anomaly",))
    metric: ClassVar[str] = "f1"
    metrics: ClassVar[tuple[str, ...]] = (
        *("f1", "event_f1", "run_end_error", "sensitivity", "ppv", "specificity"),
        *("balanced_accuracy", "auroc", "auprc", "log_loss", "brier"),
    )
    forms: ClassVar[tuple[Form, ...]] = (Form("a table of id,time,x", (".csv",), ("text/*",)),)
    words: ClassVar[Words] = Words("recording", "recordings", "beat", "beats", "set")
    ordered: ClassVar[bool] = True

    def parse(self, inputs: Sequence[RawInput], *, strict: bool) -> Parsed:
        """CSV tables of one or more recordings, and JSON objects of one."""
        parts = []
        for raw in inputs:
            if isinstance(raw.body, bytes | bytearray):
                part = read_csv(raw.name, bytes(raw.body), strict=strict, labelled=False)
                if strict and not len(part.ids):
                    raise DataError("holds no beats", file=raw.name, remedy=REMEDY)
                parts.append(part)
            else:
                parts.append(read_json(raw.name, raw.body))
        return parsed_recordings(parts)

    def raw_schema(self) -> dict[str, Any]:
        interval = {"type": "number", "exclusiveMinimum": 0, "maximum": LONGEST_MS}
        return {
            "type": "object",
            "title": "RR recording",
            "description": "Intervals between successive heart beats.",
            "required": ["rr_ms"],
            "additionalProperties": False,
            "properties": {
                "record_id": RECORD_ID_SCHEMA,
                "rr_ms": {
                    "type": "array",
                    "minItems": 1,
                    "items": interval,
                    "description": "Interval before each beat, in milliseconds.",
                },
                "time_ms": {
                    "type": "array",
                    "items": {"type": "number"},
                    "description": "When each beat came; the sum of the intervals where it is left out.",
                },
            },
            "examples": [{"rr_ms": list(_EXAMPLE)}],
        }

    def example(self) -> RawInput:
        lines = text_of(["example"], [np.array(_EXAMPLE)])
        return RawInput("example.csv", ("\n".join(lines) + "\n").encode())

    def describe(self, records: Records) -> Table:
        """Length, rate and variability of each recording."""
        beats = records.payload
        assert isinstance(beats, Beats)
        rows = [_described(*part) for part in _each(beats)]
        names = ("beats", "minutes", "median RR, ms", "SDNN, ms", "RMSSD, ms", "lost, s")
        return Table(np.array(rows, dtype=np.float32).reshape(-1, len(names)), names)


def _each(beats: Beats) -> list[tuple[FloatArray, FloatArray]]:
    """Intervals and lost time of each recording."""
    cuts = beats.starts[1:-1]
    return list(zip(np.split(beats.rr_ms, cuts), np.split(beats.lost_ms, cuts), strict=True))


def _described(rr: FloatArray, lost: FloatArray) -> tuple[float, ...]:
    rmssd = float(np.sqrt(np.mean(np.diff(rr) ** 2))) if len(rr) > 1 else np.nan
    total = float(rr.sum() + lost.sum())
    return len(rr), total / 60_000, float(np.median(rr)), float(rr.std()), rmssd, float(lost.sum()) / 1000


def parsed_recordings(parts: Sequence[Recordings]) -> Parsed:
    """Recordings of all inputs as records without labels."""
    counts = np.concatenate([np.zeros(0, dtype=np.int64), *(part.beats.n_beats for part in parts)])
    nothing = np.zeros(0, dtype=np.float32)
    beats = Beats(
        offsets(counts),
        np.concatenate([nothing, *(part.beats.rr_ms for part in parts)]),
        np.concatenate([nothing, *(part.beats.lost_ms for part in parts)]),
    )
    ids = np.concatenate([np.zeros(0, dtype="U1"), *(part.ids for part in parts)])
    each = _each(beats) if len(beats) else []
    rates = 60_000 / np.array([np.median(rr) for rr, _ in each])
    lost = np.array([part.any() for _, part in each], dtype=bool)
    records = Records(
        ids=ids,
        groups=ids,
        payload=beats,
        n_units=counts,
        subgroups={
            "length": _band(counts, _LENGTHS, "1000 beats and more"),
            "rate": _band(rates, _RATES, "100 bpm and more"),
        },
        flags={"lost_beats": lost},
        numbers=np.concatenate([np.zeros(0, dtype=np.int64), *(part.row for part in parts)]),
    )
    return Parsed(
        records,
        tuple(skipped for part in parts for skipped in part.skipped),
        sum(part.n_rows for part in parts),
        sum(part.n_lost for part in parts),
    )


def _band(values: np.ndarray, bands: Sequence[tuple[float, str]], rest: str) -> np.ndarray:
    return np.select([values < top for top, _ in bands], [name for _, name in bands], default=rest)
