"""One reader for every text that should be a number: decimal, ASCII, finite, and refused in linear time."""

import time

import pytest

from ehrbench.core.errors import DataError
from ehrbench.core.task import RawInput
from ehrbench.tasks.brfss2015 import NAMES
from ehrbench.tasks.diabetes import Diabetes
from ehrbench.tasks.mortality import Mortality
from ehrbench.tasks.numbers import of_text

NO_NUMBERS = ["", " ", "1_0", "nan", "inf", "-inf", "infinity", "１", "٣", "1e999", "0x10", " 1", "1 ", "1,5",
              ".", "1e", "e1", "+-1", "½", "²", "1\n"]  # fmt: skip


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_what_is_no_number(text):
    assert of_text(text) is None


@pytest.mark.parametrize("text", ["0", "-1", "+1", "1.", ".5", "007", "1.25e-3", "2E2", "-0.0", "1e-999"])
def test_what_is_one_is_what_python_says(text):
    assert of_text(text) == float(text)


@pytest.mark.parametrize(
    ("task", "head", "tail"),
    [
        (Mortality(), "Time,Parameter,Value\n00:00,RecordID,1\n00:01,HR,", "\n"),
        (Diabetes(), ",".join(NAMES) + "\n", ",1" * (len(NAMES) - 1) + "\n"),
    ],
)
def test_a_posted_number_of_any_length_is_refused_at_once(task, head, tail):
    """A megabyte of digits that ends in a letter; tried in each way of splitting them it would take hours."""
    begun = time.perf_counter()
    with pytest.raises(DataError, match="is not a number") as raised:
        task.parse([RawInput("posted", f"{head}{'1' * 1_000_000}x{tail}".encode())], strict=True)
    assert time.perf_counter() - begun < 10
    assert len(str(raised.value)) < 400
