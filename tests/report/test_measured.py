"""Slices by measured values, as a run's folder holds them and its page shows them."""

from __future__ import annotations

import json

import pytest

from ehrbench.core.bundle import file_digest
from ehrbench.core.errors import BundleError
from ehrbench.core.run_folder import SLICES
from ehrbench.report import write_report
from ehrbench.report.measured import SCHEMA, measured
from ehrbench.report.run import read_run
from ehrbench.statistics.discovery import discover
from tests.statistics.test_discovery import units


def write_slices(folder, data):
    content = (
        {"schema": SCHEMA} | discover(data, 0) | {"predictions": file_digest(folder / "predictions.csv")}
    )
    (folder / SLICES).write_text(json.dumps(content))


def test_the_page_shows_them(folder):
    write_slices(folder, units())
    text = write_report(folder, n_bootstrap=5).read_text()
    assert "<code>lactate.max ≥" in text
    assert "were tried on half of the groups (1,500 units)" in text
    found = measured(read_run(folder))
    assert found.worse[0].n > 30
    assert all(one.p_holm < 0.05 and one.excess > 0 for one in found.worse)
    assert len(found.worse) < found.n_found  # the others looked bad by luck
    assert f"{len(found.worse)} of them are worse there, too" in text


def test_the_page_says_when_luck_alone_looked_bad(folder):
    write_slices(folder, units(planted=False))
    found = measured(read_run(folder))
    assert found.n_found > 0
    assert not found.worse
    text = write_report(folder, n_bootstrap=5).read_text()
    assert "Not one of them is worse beyond chance where it was judged" in text
    assert "<code>" not in text[text.index("By what was measured") : text.index('id="explanations"')]


def test_no_file_other_predictions_and_a_broken_file_are_said(folder):
    assert "is not in the run" in measured(read_run(folder)).why
    write_slices(folder, units())
    content = json.loads((folder / SLICES).read_text())
    (folder / SLICES).write_text(json.dumps(content | {"predictions": "0" * 64}))
    assert "other predictions" in measured(read_run(folder)).why
    for broken in (
        "{",
        "[]",
        json.dumps(content | {"schema": 2}),
        json.dumps(content | {"found": [{"n": 1}]}),
    ):
        (folder / SLICES).write_text(broken)
        with pytest.raises(BundleError, match=r"slices\.json"):
            measured(read_run(folder))
