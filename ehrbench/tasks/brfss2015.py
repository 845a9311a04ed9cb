"""The BRFSS 2015 health-indicators table: its columns, and how text or JSON becomes rows of numbers.

CDC's Behavioral Risk Factor Surveillance System, a telephone survey, in the cleaned extract of 21 answers a
person. Every answer is a whole number in a known range, which is checked to the letter: a code outside its
range is another column or another survey, never a rare patient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc

from ehrbench.core.errors import DataError
from ehrbench.core.task import Skipped
from ehrbench.core.types import FloatArray, IntArray
from ehrbench.tasks.names import RECORD_ID_SCHEMA
from ehrbench.tasks.numbers import cells_of, of_json, of_text, shown, written


@dataclass(frozen=True)
class Answer:
    """One column: what was asked and the whole numbers low … high that may stand there."""

    name: str
    low: int
    high: int
    meaning: str


LABEL = Answer("Diabetes_binary", 0, 1, "told by a doctor that they have diabetes or prediabetes")
ANSWERS: tuple[Answer, ...] = (
    Answer("HighBP", 0, 1, "told to have high blood pressure"),
    Answer("HighChol", 0, 1, "told to have high cholesterol"),
    Answer("CholCheck", 0, 1, "cholesterol checked within five years"),
    Answer("BMI", 10, 100, "body mass index, kg/m², rounded"),
    Answer("Smoker", 0, 1, "has smoked 100 cigarettes or more"),
    Answer("Stroke", 0, 1, "told to have had a stroke"),
    Answer("HeartDiseaseorAttack", 0, 1, "coronary heart disease or myocardial infarction"),
    Answer("PhysActivity", 0, 1, "physical activity in the past 30 days, work aside"),
    Answer("Fruits", 0, 1, "fruit once a day or more"),
    Answer("Veggies", 0, 1, "vegetables once a day or more"),
    Answer("HvyAlcoholConsump", 0, 1, "more than 14 (men) or 7 (women) drinks a week"),
    Answer("AnyHealthcare", 0, 1, "any health care coverage"),
    Answer("NoDocbcCost", 0, 1, "did not see a doctor because of cost in the past year"),
    Answer("GenHlth", 1, 5, "general health, 1 excellent to 5 poor"),
    Answer("MentHlth", 0, 30, "days of poor mental health in the past 30"),
    Answer("PhysHlth", 0, 30, "days of poor physical health in the past 30"),
    Answer("DiffWalk", 0, 1, "serious difficulty walking or climbing stairs"),
    Answer("Sex", 0, 1, "0 female, 1 male"),
    Answer("Age", 1, 13, "age in bands: 1 is 18 to 24, 2 to 12 five years each, 13 is 80 and over"),
    Answer("Education", 1, 6, "1 never attended school to 6 college graduate"),
    Answer("Income", 1, 8, "1 below $10,000 to 8 $75,000 and over, a year"),
)
NAMES = tuple(answer.name for answer in ANSWERS)
_REMEDY = "columns and codes: docs/tasks/diabetes.md, or GET /model of a server"


@dataclass(frozen=True)
class Answers:
    """N people: answers (N, 21), labels (N,) where the file has them, and the line each stood in."""

    values: FloatArray  # (N, 21) float32
    labels: FloatArray | None  # (N,)
    lines: IntArray  # (N,)
    skipped: tuple[Skipped, ...]
    n_rows: int


def read_csv(name: str, body: bytes, *, strict: bool, labelled: bool) -> Answers:
    """A table with a header; columns go by name, in any order, cells may be quoted, blank lines are none.

    labelled: read the label, too, where there is one; otherwise whatever stands there plays no part.
    Raises DataError for missing or unknown columns, always; for a bad cell when ``strict``, else its row is
    skipped and listed.
    """
    text = body.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    header, _, rest = text.partition(b"\n")
    columns = cells_of(header.decode("utf-8", "replace"))
    _check_header(name, columns)
    answers = [answer for answer in (LABEL, *ANSWERS) if answer.name in columns]
    if not labelled:
        answers = list(ANSWERS)
    lines = np.array([n for n, line in enumerate(rest.split(b"\n"), 2) if line.strip()], dtype=np.int64)
    table, faults = _numbers(rest, len(lines), columns, [answer.name for answer in answers])
    for j, answer in enumerate(answers):
        x = table[:, j]
        wrong = ~((x >= answer.low) & (x <= answer.high) & (x == np.rint(x)))
        for i in np.flatnonzero(wrong & ~np.isnan(x)).tolist():
            faults.setdefault(i, (answer.name, _out_of_range(answer, float(x[i]))))
    listed = []
    for i in sorted(faults):
        (field, problem), record = faults[i], f"line {lines[i]}"
        if strict:
            raise DataError(problem, file=name, record=record, field=field, remedy=_REMEDY)
        listed.append(Skipped(name, record, field, problem))
    good = np.setdiff1d(np.arange(len(lines)), list(faults))
    n_labels = int(answers[0] is LABEL)
    labels = table[good, 0].astype(np.float64) if n_labels else None
    values = np.ascontiguousarray(table[good, n_labels:], dtype=np.float32)
    return Answers(values, labels, lines[good], tuple(listed), len(lines))


def read_json(name: str, body: Mapping[str, Any]) -> FloatArray:
    """(21,) float32 of ``{"HighBP": 1, …}``; DataError for a missing, unknown or impossible answer."""
    for key in body:
        if key not in NAMES and key != "record_id":
            raise DataError("is not a known answer", record=name, field=key, remedy=_REMEDY)
    values = np.zeros(len(ANSWERS), dtype=np.float32)
    for i, answer in enumerate(ANSWERS):
        if answer.name not in body:
            raise DataError("is missing", record=name, field=answer.name, remedy=_REMEDY)
        raw = body[answer.name]
        if (number := of_json(raw)) is None:
            raise DataError(f"{shown(raw)} is not a number", record=name, field=answer.name, remedy=_REMEDY)
        if not answer.low <= number <= answer.high or number != int(number):
            raise DataError(_out_of_range(answer, number), record=name, field=answer.name, remedy=_REMEDY)
        values[i] = number
    return values


def _out_of_range(answer: Answer, value: float) -> str:
    return f"{written(value)} is not a whole number from {answer.low} to {answer.high} ({answer.meaning})"


def _check_header(name: str, columns: list[str]) -> None:
    for wanted in NAMES:
        if wanted not in columns:
            raise DataError("has no such column", file=name, field=wanted, remedy=_REMEDY)
    for i, column in enumerate(columns):
        if column not in NAMES and column != LABEL.name:
            raise DataError("is not a known column", file=name, field=column, remedy=_REMEDY)
        if column in columns[:i]:
            raise DataError("stands twice in the header", file=name, field=column, remedy=_REMEDY)


def _numbers(
    text: bytes, n_rows: int, columns: list[str], names: list[str]
) -> tuple[FloatArray, dict[int, tuple[str, str]]]:
    """(rows, names) float64, NaN in faulty rows, and faults by row (field, problem); blank lines are none."""
    if not n_rows:
        return np.zeros((0, len(names))), {}
    with suppress(pa.ArrowInvalid):  # some cell is no number: found below, one by one
        table = pc.read_csv(
            pa.BufferReader(text),
            read_options=pc.ReadOptions(column_names=columns),
            convert_options=pc.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.float64()), null_values=[], include_columns=names
            ),
        )
        values = np.stack([table.column(name).to_numpy() for name in names], axis=1)
        if np.isfinite(values).all() and len(values) == n_rows:
            return values, {}
    values = np.full((n_rows, len(names)), np.nan)
    faults = {}
    for i, line in enumerate(line for line in text.split(b"\n") if line.strip()):
        fault = _row(cells_of(line.decode("utf-8", "replace")), columns, names, values[i])
        if fault is not None:
            faults[i], values[i] = fault, np.nan
    return values, faults


def _row(cells: list[str], columns: list[str], names: list[str], out: FloatArray) -> tuple[str, str] | None:
    """Fill ``out`` from one line, or say which field is wrong and why."""
    if len(cells) != len(columns):
        return "line", f"{len(cells)} columns instead of {len(columns)}"
    found = dict(zip(columns, cells, strict=True))
    for j, name in enumerate(names):
        if (number := of_text(found[name])) is None:
            return name, f"{shown(found[name])} is not a number"
        out[j] = number
    return None


def schema() -> dict[str, Any]:
    """JSON schema of one person's answers, without its example."""
    return {
        "type": "object",
        "title": "Health interview",
        "description": "One person's answers to BRFSS 2015.",
        "required": list(NAMES),
        "additionalProperties": False,
        "properties": {
            "record_id": RECORD_ID_SCHEMA,
            **{
                a.name: {"type": "integer", "minimum": a.low, "maximum": a.high, "description": a.meaning}
                for a in ANSWERS
            },
        },
    }


def markdown_table() -> str:
    """The columns, for ``docs/tasks/diabetes.md``."""
    rows = ["| column | codes | meaning |", "|---|---|---|"]
    rows += [f"| {a.name} | {a.low}–{a.high} | {a.meaning} |" for a in (LABEL, *ANSWERS)]
    return "\n".join(rows)


def text_of(rows: FloatArray, labels: FloatArray | None = None) -> Iterator[str]:
    """Lines of the publisher's own format, header first: every number with one decimal."""
    names = NAMES if labels is None else (LABEL.name, *NAMES)
    yield ",".join(names)
    table = rows if labels is None else np.concatenate([labels[:, None], rows], axis=1)
    for row in table.tolist():
        yield ",".join(f"{value:.1f}" for value in row)
