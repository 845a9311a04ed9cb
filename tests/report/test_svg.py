"""Plots leave out what is not finite and never write NaN into a page."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehrbench.report.figure import Figure
from ehrbench.report.svg import Plot, around, number, ticks

ANY = st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(ANY, max_size=12), st.text(max_size=10).filter(lambda t: t.isprintable()))
def test_a_plot_is_well_formed_whatever_it_is_given(values, text):
    plot = Plot(text, (0, 1), (0, 1)).axes(text, text)
    x = np.arange(len(values), dtype=float)
    plot.line(x, np.clip(values, -1e6, 1e6), "m0", text)
    plot.band(x, np.clip(values, -1e6, 1e6), x, "m1")
    for v in values:
        plot.dot(v, 0.5, "m0", tip=text)
    plot.text(0.5, 0.5, text)
    ET.fromstring(plot.svg())
    assert "nan" not in plot.svg().replace(text, "").lower()


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_lie_inside_and_are_few(low, width):
    found = ticks(low, low + width)
    assert len(found) <= 13
    near = width * 1e-6 + 4 * np.spacing(abs(low) + width)
    assert all(low - near <= t <= low + width + near for t in found)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.86131, "0.8613"), (12.0, "12"), (1.2e-5, "1.2e−5"), (1e-4, "1e−4"), (-0.5, "−0.5"), (np.nan, "–"),
     (12000, "12,000"), (0, "0")],
)  # fmt: skip
def test_numbers_as_a_reader_wants_them(value, text):
    assert number(value) == text


def test_bounds_of_nothing_and_of_one_value():
    assert around([np.nan]) == (0, 1)
    low, high = around([0.5])
    assert low < 0.5 < high


def test_a_figure_without_picture_has_a_reason():
    with pytest.raises(ValueError, match="reason"):
        Figure("a", "A", "")


@pytest.mark.parametrize(
    "ends", [(0.0, 0.0), (0.3, 0.3), (1.0, -1.0), (float("nan"), 1.0), (0.0, float("inf"))]
)
def test_a_range_of_one_value_or_none_is_drawn_with_room_around_it(ends):
    plot = Plot("t", ends, ends).axes("x", "y")
    plot.dot(0.3, 0.3, "m0")
    plot.bar((0, 0.3), 0, 10, "m0")
    assert plot.x[0] < plot.x[1]
    assert not re.search("nan|inf", plot.svg())
