"""One note as text: how bytes or JSON become it, and what is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ehrbench.core.errors import DataError
from ehrbench.features.texts import words
from ehrbench.tasks.numbers import shown

#: Characters of one note; the longest published one has 18,425.
MOST_CHARACTERS = 200_000
#: Below, a note is a heading whose text was cut off ("CHIEF COMPLAINT:,"), and tells nothing.
FEWEST_WORDS = 5
KEYWORDS = "begins with the specialty in every published row, and predicting from it is reading the answer"
#: What a file may begin with, and the encoding this tells.
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
_REMEDY = 'send the note\'s text in UTF-8, or {"text": "…"}: docs/tasks/transcriptions.md'


def read_bytes(name: str, body: bytes) -> str:
    """The text of a file; DataError naming the file, and where it is not UTF-8."""
    encoding = next((name for mark, name in _MARKS.items() if body.startswith(mark)), "utf-8")
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        problem = f"is not {encoding.removesuffix('-sig').upper()} text (byte {error.start:,})"
        raise DataError(
            problem, file=name, field="text", remedy="save it as UTF-8 and send it again"
        ) from None
    return checked(text, file=name)


def read_json(name: str, body: Mapping[str, Any]) -> str:
    """The text of ``{"text": "…"}``; DataError for another field, or a text that is none."""
    for key in body:
        if key == "keywords":
            raise DataError(f"is refused: it {KEYWORDS}", record=name, field=key, remedy="leave it out")
        if key not in ("text", "record_id"):
            raise DataError("is not a known field", record=name, field=key, remedy=_REMEDY)
    if "text" not in body:
        raise DataError("is missing", record=name, field="text", remedy=_REMEDY)
    if not isinstance(body["text"], str):
        raise DataError(f"{shown(body['text'])} is not text", record=name, field="text", remedy=_REMEDY)
    return checked(body["text"], record=name)


def checked(text: str, *, file: object = None, record: object = None) -> str:
    """The text with one kind of line end and nothing around it; DataError where it cannot be a note's."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    place = {"file": file, "record": record, "field": "text"}
    if not text:
        raise DataError("is empty", **place, remedy=_REMEDY)
    if len(text) > MOST_CHARACTERS:
        problem = f"has {len(text):,} characters, more than {MOST_CHARACTERS:,}"
        raise DataError(problem, **place, remedy="send one note at a time")
    if "\0" in text:
        raise DataError("holds a NUL character: it is no text", **place, remedy=_REMEDY)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError("holds half a surrogate pair: it is no text", **place, remedy=_REMEDY) from None
    return text


def check_words(text: str, *, file: object = None, record: object = None) -> None:
    """DataError for a note of fewer than ``FEWEST_WORDS`` words."""
    n_words = len(words(text[: 100 * FEWEST_WORDS]))
    if n_words < FEWEST_WORDS:
        problem = f"has {n_words} words, and a note at least {FEWEST_WORDS}"
        raise DataError(problem, file=file, record=record, field="text", remedy=_REMEDY)
