"""Curves as they are drawn: what is named in them, and that nothing leaves the frame."""

import re

import numpy as np
import pytest

from ehrbench.report.figures import risk_curves as figures
from ehrbench.report.svg import Plot
from ehrbench.statistics.score_counts import score_counts
from tests.statistics.test_curves import drawn, fold


def test_acting_on_all_is_named_only_where_its_line_is():
    """One positive in a thousand: at the first threshold it is far below the frame already."""

    def svg(n_positive: int) -> str:
        known = fold(np.arange(1000) < n_positive, drawn(1000)[1] / 100)
        thresholds = figures.thresholds_for(n_positive / 1000)
        counts = score_counts([known], ["m"], 0, thresholds, seed=0, n_replicates=20)
        return figures.decision(counts, {"m": "m0"}, "0", [], thresholds).svg

    assert "act on all" in svg(200)
    assert "act on all" not in svg(1)


@pytest.mark.parametrize("n_positive", [1, 20, 300])
def test_the_prevalence_is_named_and_no_note_leaves_the_frame(n_positive):
    known = fold(np.arange(1000) < n_positive, drawn(1000)[1])
    thresholds = figures.thresholds_for(n_positive / 1000)
    counts = score_counts([known], ["m"], 0, thresholds, seed=0, n_replicates=20)
    figure = figures.precision_recall(counts, {"m": "m0"}, "0", [])
    assert f"the prevalence, {n_positive / 10:g}\u00a0%" in figure.caption
    both = figure.svg + figures.decision(counts, {"m": "m0"}, "0", [], thresholds).svg
    frame = Plot("", (0, 1), (0, 1))
    notes = [float(y) for y in re.findall(r'<text class="note[^"]*" x="[^"]*" y="([^"]*)"', both)]
    assert notes
    assert all(frame.at_y(1) <= y <= frame.at_y(0) for y in notes)
