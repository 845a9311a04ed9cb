"""Metrics of events, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ehrbench import metrics
from ehrbench.core.errors import UndefinedMetric
from ehrbench.metrics._events import runs
from tests.metrics.examples import BINARY

CUT = np.array([0.5])


def value(name: str, labels: str, calls: str, records: str = "", weight: object = None) -> float:
    """labels and calls as text of 0 and 1 (? unknown), records as one letter a unit."""
    y = np.array([np.nan if c == "?" else float(c) for c in labels])[:, None]
    p = np.array([float(c) for c in calls])[:, None]
    record = np.array([ord(c) for c in records or "a" * len(labels)])
    weight = None if weight is None else np.asarray(weight)
    return metrics.load(name)(y, p, target=BINARY, threshold=CUT, record=record, weight=weight)


def test_an_event_is_found_by_any_of_its_units() -> None:
    assert value("event_f1", "0111000110", "0010000000") == pytest.approx(2 * 0.5 * 1 / 1.5)
    assert value("event_f1", "0111000110", "0010001100") == 1
    assert value("event_f1", "0110", "1001") == 0
    assert value("event_f1", "0110", "0000") == 0
    assert value("event_f1", "0111110", "0101010") == 1  # three runs, all of them right


def test_runs_end_with_their_record() -> None:
    assert value("event_f1", "0110", "0100", "aabb") == pytest.approx(2 * 0.5 / 1.5)
    first, last = runs(np.array([True, True, True, False, True]), np.array([0, 0, 1, 1, 1]))
    assert (first.tolist(), last.tolist()) == ([0, 2, 4], [1, 2, 4])
    assert [x.tolist() for x in runs(np.zeros(0, dtype=bool), np.zeros(0, dtype=np.int64))] == [[], []]


def test_the_ends_of_a_found_event() -> None:
    assert value("run_end_error", "0011100", "0011100") == 0
    assert value("run_end_error", "0011100", "0110000") == pytest.approx((1 + 2) / 2)
    assert value("run_end_error", "00111100", "11100110") == pytest.approx((2 + 1) / 2)  # first and last run
    both = value("run_end_error", "01100110", "01110000", "aaaabbbb")  # the second is not found
    assert both == pytest.approx(1 / 2)
    with pytest.raises(UndefinedMetric, match="1 events, 0 found, 1 called"):
        value("run_end_error", "0110", "1000")


def test_unknown_labels_part_nothing_and_weights_count_records() -> None:
    assert value("event_f1", "01?10", "01110") == 1
    assert value("run_end_error", "01?10", "01110") == 0
    twice = value("event_f1", "01100110", "01100000", "aaaabbbb", weight=[2, 2, 2, 2, 1, 1, 1, 1])
    again = value("event_f1", "011001100110", "011001100000", "aaaabbbbcccc")
    assert twice == pytest.approx(again)
    with pytest.raises(UndefinedMetric, match="no unit with a known label"):
        value("event_f1", "??", "01")
