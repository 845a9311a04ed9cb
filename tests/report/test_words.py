"""A page says what is said of records and units in the words of its task."""

from __future__ import annotations

import pytest

from ehrbench.core.task import Words

IMAGES = Words("image", "images", "finding", "findings")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("3 records, fewer than 30", "3 images, fewer than 30"),
        ("a record; An odd record; A record stays", "an image; An odd image; An image stays"),
        ("true positives a unit", "true positives a finding"),
        ("Records and Units", "Images and Findings"),
        (
            "stands in records.csv, of the recording icu_unit",
            "stands in records.csv, of the recording icu_unit",
        ),
        ("no outer-test record was handed out", "no outer-test image was handed out"),
    ],
)
def test_things_have_the_task_s_names_and_files_their_own(text, said):
    assert IMAGES.said(text) == said
    assert Words().said("a record of units") == "a record of units"
