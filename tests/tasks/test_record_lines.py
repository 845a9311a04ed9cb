"""A text split by hand says the same as one split by Arrow."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehrbench.tasks.physionet2012 import record_lines
from ehrbench.tasks.physionet2012.record_lines import SplitLines, plain, split

LETTERS = st.sampled_from(
    [b"a", b"7", b" ", b"\t", b",", b",", b",", b"\n", b"\n", b"\r", b'"', b"\xff", b"\0"]
)
TEXTS = st.lists(LETTERS, max_size=60).map(b"".join)


def lines_of(found: SplitLines) -> list[tuple[object, ...]]:
    """Each line's three strings and whether it is blank; of an odd one, why it is."""
    cells = [
        [strings[code] for code in codes] for codes, strings in zip(found.codes, found.strings, strict=True)
    ]
    whole = zip(*cells, found.blank.tolist(), strict=True)
    lines = [(found.odd[i],) if i in found.odd else line for i, line in enumerate(whole)]
    return [("",) if line in (("",), (b"", b"", b"", True)) else line for line in lines]  # two ways of blank


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_by_hand_and_by_arrow_agree(text: bytes) -> None:
    text = plain(text)
    by_hand = lines_of(split(text))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_lines, "_MANY", 0)
        by_arrow = lines_of(split(text)) if text else []
    assert by_hand == by_arrow
    assert len(by_hand) == text.count(b"\n")


def test_arrow_is_asked_for_long_texts_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    arrow = record_lines._arrow
    monkeypatch.setattr(record_lines, "_arrow", lambda text: asked.append(len(text)) or arrow(text))
    split(b"00:00,HR,70\n" * 500)
    assert asked == []
    found = split(b"00:00,HR,70\n" * 50_000)
    assert len(asked) == 1
    assert found.strings == ([b"00:00"], [b"HR"], [b"70"])
