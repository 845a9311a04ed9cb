"""Simulated notes in MTSamples' format, with the table's traps.

A note has a kind (an operation, a consultation, …) and a field of medicine, and mentions words of both among
words that tell nothing. It stands once under its kind and once under its field, as in the published table;
some rows have no text, some texts are another's with a few words changed, and keywords begin with the
specialty.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ehrbench.core.digest import derive_seed
from ehrbench.core.types import IntArray
from ehrbench.tasks.transcriptions import SPECIALTIES

#: Kinds of notes, with a heading each; every other specialty is a field of medicine.
_KINDS = {
    "Surgery": "PREOPERATIVE DIAGNOSIS",
    "Consult - History and Phy.": "CHIEF COMPLAINT",
    "SOAP / Chart / Progress Notes": "SUBJECTIVE",
    "Discharge Summary": "DISCHARGE DIAGNOSES",
    "Radiology": "EXAM",
    "Emergency Room Reports": "HISTORY OF PRESENT ILLNESS",
    "Office Notes": "REASON FOR VISIT",
    "Letters": "Dear Sir",
    "Autopsy": "CAUSE OF DEATH",
}
_SYLLABLES = (
    "ar",
    "cor",
    "den",
    "ex",
    "fi",
    "gas",
    "hep",
    "il",
    "lum",
    "mo",
    "nef",
    "os",
    "pul",
    "ren",
    "tib",
    "ves",
)
_PLAIN = """
the patient was seen and examined today with a history of this problem which has been stable on the left and
right without change after review of all results we will follow as needed and return if worse
""".split()  # noqa: SIM905 - prose is easier to read than a list of words
#: Words of a note; of them, this share tells of its field and its kind each.
_LENGTH, _TELLING = 120, 0.05
#: Words of a field or kind of its own; the least share of texts that each of them has.
_OWN, _LEAST = 25, 0.02
_EMPTY_SHARE, _COPIED_SHARE = 0.006, 0.02


def simulated_rows(n: int, seed: int) -> Iterator[tuple[str, str, str, str, str]]:
    """Rows of ``n`` distinct texts: description, medical_specialty, sample_name, transcription, keywords."""
    rng = np.random.default_rng(derive_seed(seed, "mtsamples"))
    own = {name: _vocabulary(name) for name in SPECIALTIES}
    kinds, fields = list(_KINDS), [name for name in SPECIALTIES if name not in _KINDS]
    of_kind, of_field = _dealt(n, len(kinds), rng), _dealt(n, len(fields), rng)
    texts: dict[str, tuple[str, str]] = {}
    while len(texts) < n:
        i = len(texts)
        kind, field = kinds[of_kind[i]], fields[of_field[i]]
        if texts and rng.random() < _COPIED_SHARE:
            copied, (kind, field) = list(texts.items())[int(rng.integers(i))]
            telling = copied.split(" ")
            telling[int(rng.integers(3, len(telling)))] = f"{int(rng.integers(1000))}"
            text = " ".join(telling)
        else:
            text = _text(_KINDS[kind], own[kind], own[field], rng)
        texts.setdefault(text, (kind, field))
    rows = []
    for number, (text, (kind, field)) in enumerate(texts.items()):
        under = [kind, field] if rng.random() < 0.9 else [field]
        for specialty in under:
            keywords = f"{specialty.lower()}, {', '.join(own[field][:3])},"
            rows.append((f"Sample {number}.", f" {specialty}", f" Sample {number} ", text, keywords))
        if rng.random() < _EMPTY_SHARE:
            rows.append((f"Sample {number}.", f" {field}", f" Sample {number} ", "", ""))
    yield from (rows[i] for i in rng.permutation(len(rows)))


def _dealt(n: int, n_classes: int, rng: np.random.Generator) -> IntArray:
    """(n,) classes, common and rare ones, each in at least ``_LEAST`` of them where that can be."""
    share = 1 / np.arange(1, n_classes + 1)
    least = np.tile(np.arange(n_classes), max(1, int(_LEAST * n)))[:n]
    rest = rng.choice(n_classes, size=n - len(least), p=share / share.sum())
    return np.asarray(rng.permutation(np.concatenate([least, rest])))


def _vocabulary(name: str) -> list[str]:
    """Made-up words of a specialty, the same for every seed."""
    rng = np.random.default_rng(derive_seed(0, "mtsamples", name))
    return ["".join(rng.choice(_SYLLABLES, size=int(rng.integers(3, 5)))) for _ in range(_OWN)]


def _text(heading: str, of_kind: list[str], of_field: list[str], rng: np.random.Generator) -> str:
    length = max(20, int(rng.normal(_LENGTH, 40)))
    drawn = [
        str(rng.choice(of_kind if x < _TELLING else of_field if x < 2 * _TELLING else _PLAIN))
        for x in rng.random(length)
    ]
    sentences = [" ".join(drawn[i : i + 12]).capitalize() + "." for i in range(0, length, 12)]
    return f"{heading}:, {' '.join(sentences)}"
