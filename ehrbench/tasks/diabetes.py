"""Diabetes: diabetes or prediabetes from a telephone interview (CDC BRFSS 2015, health indicators).

253,680 people, 21 answers each. CDC's data are in the US public domain; the cleaned extract is CC0.

Many people gave the same 21 answers: 253,680 rows hold 227,908 distinct ones. The group of a record is the
digest of its answers, so that equal rows never stand on both sides of a split.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.task import Form, Parsed, RawInput, Task, Words
from ehrbench.core.types import FloatArray, StrArray
from ehrbench.core.views import Table
from ehrbench.features.rows import Rows
from ehrbench.tasks.brfss2015 import NAMES, read_csv, read_json, schema, text_of
from ehrbench.tasks.names import id_of
from ehrbench.tasks.raw_files import LEFT_OUT

_AGE_BANDS = ("18-24", *(f"{low}-{low + 4}" for low in range(25, 80, 5)), "80 and over")
_INCOMES = ("under 10k", "10-15k", "15-20k", "20-25k", "25-35k", "35-50k", "50-75k", "75k and over")
_EXAMPLE = (1, 1, 1, 34, 0, 0, 0, 0, 1, 1, 0, 1, 0, 4, 2, 10, 1, 0, 10, 4, 5)


class Diabetes(Task):
    """Binary task over ``Rows``; one unit a person."""

    name: ClassVar[str] = "diabetes"
    target = Target("binary", ("diabetes",))
    metric: ClassVar[str] = "auroc"
    metrics: ClassVar[tuple[str, ...]] = (
        *("auroc", "auprc", "event1", "event2", "brier", "log_loss"),
        *("sensitivity", "specificity", "f1", "balanced_accuracy", "net_benefit"),
    )
    forms: ClassVar[tuple[Form, ...]] = (Form("a table with a header", (".csv",), ("text/*",), many=True),)
    harmless: ClassVar[frozenset[str]] = LEFT_OUT
    units = MappingProxyType(
        {"BMI": "kg/m²", "MentHlth": "days", "PhysHlth": "days", "age_band": "years", "income": "US$ a year"}
    )
    words: ClassVar[Words] = Words("person", "people", "person", "people", "year")

    def parse(self, inputs: Sequence[RawInput], *, strict: bool) -> Parsed:
        """CSV tables with a header (any number of rows) and JSON objects.

        A record is named by its JSON ``record_id``, else by its input, with the row where there are several.
        """
        ids: list[str] = []
        blocks: list[FloatArray] = [np.zeros((0, len(NAMES)), dtype=np.float32)]
        skipped, n_rows = [], 0
        for raw in inputs:
            if isinstance(raw.body, bytes | bytearray):
                answers = read_csv(raw.name, bytes(raw.body), strict=strict, labelled=False)
                stem = raw.name.rsplit("/", 1)[-1].split(".csv")[0]
                lines = answers.lines.tolist()
                ids += [stem for _ in lines] if answers.n_rows == 1 else [f"{stem}:{n - 1}" for n in lines]
                blocks.append(answers.values)
                skipped += list(answers.skipped)
                n_rows += answers.n_rows
            else:
                name = id_of(raw.body, raw.name)
                blocks.append(read_json(name, raw.body)[None])
                ids.append(name)
                n_rows += 1
        records = people(np.array(ids, dtype=str), np.concatenate(blocks), None)
        return Parsed(records, tuple(skipped), n_rows, len(skipped))

    def raw_schema(self) -> dict[str, Any]:
        return schema() | {"examples": [dict(zip(NAMES, _EXAMPLE, strict=True))]}

    def example(self) -> RawInput:
        lines = text_of(np.array([_EXAMPLE], dtype=np.float64))
        return RawInput("example.csv", ("\n".join(lines) + "\n").encode())

    def describe(self, records: Records) -> Table:
        """The answers as coded."""
        assert isinstance(records.payload, Rows)
        return Table(records.payload.values, records.payload.names)


def people(ids: StrArray, values: FloatArray, y: FloatArray | None) -> Records:
    """Records of answers (N, 21), labels y (N, 1) where they are known."""
    payload = Rows(values, NAMES)
    sex, age, income = (values[:, NAMES.index(name)].astype(np.int64) for name in ("Sex", "Age", "Income"))
    return Records(
        ids=ids,
        groups=payload.digests(),
        payload=payload,
        n_units=np.ones(len(ids), dtype=np.int64),
        target=y,
        subgroups={
            "sex": np.array(["female", "male"])[sex],
            "age_band": np.array(_AGE_BANDS)[age - 1],
            "income": np.array(_INCOMES)[income - 1],
        },
    )
