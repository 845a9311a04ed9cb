"""Transcriptions: the medical specialty of a dictated note (MTSamples, 40 specialties).

4,966 rows of the published table hold only 2,357 distinct texts: the same note stands under two to five
specialties, one row each. So a note is one record and its specialties are a set (``reading: set``,
multi-label). ``reading: row`` takes each row for a record with one label, as most published figures do;
whoever names one specialty a row can then be right in at most 47.5 % of rows, whatever the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ehrbench.core.errors import ConfigError, DataError
from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.task import Form, Parsed, RawInput, Skipped, Task, Words
from ehrbench.core.types import StrArray
from ehrbench.core.views import Table
from ehrbench.features.texts import Texts, words
from ehrbench.tasks.names import RECORD_ID_SCHEMA, id_of
from ehrbench.tasks.note_text import FEWEST_WORDS, check_words, read_bytes, read_json

READINGS = ("set", "row")
SPECIALTIES: tuple[str, ...] = (
    "Allergy / Immunology", "Autopsy", "Bariatrics", "Cardiovascular / Pulmonary", "Chiropractic",
    "Consult - History and Phy.", "Cosmetic / Plastic Surgery", "Dentistry", "Dermatology",
    "Diets and Nutritions", "Discharge Summary", "ENT - Otolaryngology", "Emergency Room Reports",
    "Endocrinology", "Gastroenterology", "General Medicine", "Hematology - Oncology",
    "Hospice - Palliative Care", "IME-QME-Work Comp etc.", "Lab Medicine - Pathology", "Letters",
    "Nephrology", "Neurology", "Neurosurgery", "Obstetrics / Gynecology", "Office Notes", "Ophthalmology",
    "Orthopedic", "Pain Management", "Pediatrics - Neonatal", "Physical Medicine - Rehab", "Podiatry",
    "Psychiatry / Psychology", "Radiology", "Rheumatology", "SOAP / Chart / Progress Notes",
    "Sleep Medicine", "Speech - Language", "Surgery", "Urology",
)  # fmt: skip
_LENGTHS = ((150, "under 150 words"), (400, "150-399"), (800, "400-799"), (np.inf, "800 words and over"))
_EXAMPLE = (
    "PREOPERATIVE DIAGNOSIS: Cataract, right eye.\n"
    "POSTOPERATIVE DIAGNOSIS: Cataract, right eye.\n"
    "PROCEDURE PERFORMED: Phacoemulsification with implantation of a posterior chamber intraocular lens.\n"
    "ANESTHESIA: Topical, with monitored care.\n"
    "DESCRIPTION OF PROCEDURE: The patient was brought to the operating room, and the right eye was prepped"
    " and draped in the usual sterile fashion. A clear corneal incision was made, the anterior chamber was"
    " filled with viscoelastic, and a capsulorrhexis was performed. The nucleus was emulsified, the cortex"
    " aspirated, and the lens placed in the capsular bag. The patient tolerated the procedure well.\n"
)


class Transcriptions(Task):
    """Task over ``Texts``; one unit a note.

    reading: ``set`` (multi-label) or ``row`` (multi-class).
    """

    name: ClassVar[str] = "transcriptions"
    metric: ClassVar[str] = "mean_average_precision"
    metrics: ClassVar[tuple[str, ...]] = (
        *("mean_average_precision", "precision_at_1", "precision_at_3", "micro_f1", "macro_f1"),
        *("auroc", "auprc", "brier", "log_loss"),
    )
    forms: ClassVar[tuple[Form, ...]] = (Form("the note's text", (".txt",), ("text/*",)),)
    words: ClassVar[Words] = Words("note", "notes", "note", "notes", "collection")

    def __init__(self, reading: str = "set") -> None:
        if reading not in READINGS:
            raise ConfigError(
                "task.build.reading", f"{reading!r} is neither set nor row", "take one of these"
            )
        self.reading = reading
        self.target = Target("multilabel" if reading == "set" else "multiclass", SPECIALTIES)

    def parse(self, inputs: Sequence[RawInput], *, strict: bool) -> Parsed:
        """Text files and JSON objects, one note each, named by its JSON ``record_id``, else by its input."""
        ids: list[str] = []
        texts: list[str] = []
        skipped: list[Skipped] = []
        for raw in inputs:
            try:
                name, text = _note(raw)
            except DataError as error:
                if strict:
                    raise
                skipped.append(Skipped(raw.name, raw.name, str(error.field), error.problem))
            else:
                ids.append(name)
                texts.append(text)
        records = notes(np.array(ids, dtype=str), tuple(texts))
        return Parsed(records, tuple(skipped), len(inputs), len(skipped))

    def raw_schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "title": "Note",
            "description": "A dictated note. Take out names, dates and numbers that tell who it is of.",
            "required": ["text"],
            "additionalProperties": False,
            "properties": {
                "record_id": RECORD_ID_SCHEMA,
                "text": {"type": "string", "description": f"At least {FEWEST_WORDS} words."},
            },
            "examples": [{"text": _EXAMPLE}],
        }

    def example(self) -> RawInput:
        return RawInput("example.txt", _EXAMPLE.encode())

    def describe(self, records: Records) -> Table:
        """Length and form of each note."""
        assert isinstance(records.payload, Texts)
        rows = [_described(text) for text in records.payload.texts]
        values = np.array(rows, dtype=np.float32).reshape(len(records), len(DESCRIBED))
        return Table(values, DESCRIBED)


#: What ``describe`` tells of a note.
DESCRIBED = ("words", "distinct words", "sentences", "headings", "numbers per 100 words")


def notes(ids: StrArray, texts: tuple[str, ...]) -> Records:
    """Records of notes, without labels; the group of a note is the digest of its text."""
    payload = Texts(texts)
    n_words = np.array([len(words(text)) for text in texts], dtype=np.int64)
    lengths = np.select([n_words < top for top, _ in _LENGTHS], [name for _, name in _LENGTHS], default="")
    return Records(
        ids=ids,
        groups=payload.digests(),
        payload=payload,
        n_units=np.ones(len(ids), dtype=np.int64),
        subgroups={"length": lengths.astype(str)},
        flags={"few_words": n_words < FEWEST_WORDS},
    )


def _note(raw: RawInput) -> tuple[str, str]:
    """Name and text of one note."""
    if isinstance(raw.body, bytes | bytearray):
        text = read_bytes(raw.name, bytes(raw.body))
        check_words(text, file=raw.name)
        return raw.name.rsplit("/", 1)[-1].removesuffix(".txt"), text
    name = id_of(raw.body, raw.name)
    text = read_json(name, raw.body)
    check_words(text, record=name)
    return name, text


def _described(text: str) -> tuple[float, ...]:
    found = words(text)
    pieces = Texts((text,)).pieces(len(text))
    headings = sum(text[a:b].rstrip(" ,\n").endswith(":") and text[a:b].isupper() for a, b in pieces)
    numbers = sum(word[0].isdigit() for word in found)
    share = 100 * numbers / len(found) if found else np.nan
    return len(found), len(set(found)), len(pieces) - headings, headings, share
