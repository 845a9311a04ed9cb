"""Cohorts and models that leave a figure little to show: the search ends with every part of its page.

Trees without splits, two dozen records, patients without measurements, sequences of a payload without hours.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ehrbench.app.command.cli import main
from ehrbench.app.search import searching
from ehrbench.core.records import Records
from ehrbench.core.task import Cohort
from ehrbench.core.views import View
from ehrbench.publishers.physionet2012 import PhysioNet2012
from ehrbench.report import failures
from tests.runtime.toy import ToySequence
from tests.spine.composing import composed, tiny_config

SMALL = ["protocol=smoke", "data.sets=[a]", "report.n_bootstrap=100", "report.explained=8", "study_name=s"]
FAST = ["model.lstm.build.max_epochs=2", "model.lstm.n_trials=1"]


def whole(run: Path) -> str:
    """The page of a finished run, none of whose parts is lost, that can be written again and is sealed."""
    assert not failures(run), [path.read_text() for path in failures(run)]
    page = (run / "report.html").read_text()
    assert main(["report", str(run)]) == 0
    assert (run / "report.html").read_text() == page
    assert main(["certify", str(run)]) == 0
    return page


def searched(data: Path, folder: Path, *overrides: str) -> str:
    searching.search(composed(folder, *SMALL, f"data.root={data}", *overrides))
    return whole(folder / "s")


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Makes the mortality task read other records than its files hold."""
    monkeypatch.setenv("EHRBENCH_CACHE", "")
    read = PhysioNet2012.read

    def change(to: Callable[[Records], Records]) -> None:
        def other(self: PhysioNet2012, *arguments: object) -> Cohort:
            cohort = read(self, *arguments)  # type: ignore[arg-type]
            return replace(cohort, records=to(cohort.records))

        monkeypatch.setattr(PhysioNet2012, "read", other)

    return change


def test_trees_that_never_split(data, tmp_path):
    leaf = ["model.lightgbm.build.min_data_in_leaf=500", "~model.lightgbm.space.min_data_in_leaf"]
    page = searched(data, tmp_path, "models=[lightgbm]", *leaf, "data.limit=140")
    assert 'id="permutation"' in page


@pytest.mark.parametrize(("n", "seed"), [(22, 0), (24, 2), (26, 4)])
def test_two_dozen_records(n, seed, data, changed, tmp_path):
    changed(lambda r: replace(r, target=(np.arange(len(r)) % 2).astype(float)[:, None]))
    searched(data, tmp_path, "models=[logistic,lightgbm]", f"data.limit={n}", f"seed={seed}")


def test_patients_without_measurements(data, changed, tmp_path):
    def unmeasured(records: Records) -> Records:
        events, none = records.payload, np.zeros(0, dtype=np.int64)
        empty = {name: getattr(events, name)[none] for name in ("minute", "parameter", "value")}
        events = replace(events, starts=np.zeros(len(records) + 1, dtype=np.int64), **empty, store=None)
        flags = {"no_measurements": np.ones(len(records), dtype=bool)}
        return replace(records, payload=events, flags=flags)

    changed(unmeasured)
    page = searched(data, tmp_path, "models=[logistic,lstm]", "data.limit=140", *FAST)
    assert "The patients of this task have no times." in page
    assert 'id="hours-lstm"' not in page


class NamedSequence(ToySequence):
    """Its channel has a name, so that a network's score can be taken apart; its payload has no hours."""

    def rows(self, records: Records) -> View:
        return replace(super().rows(records), channels=("a",))  # type: ignore[type-var]


def test_sequences_of_a_payload_without_hours(tmp_path, monkeypatch):
    config = tiny_config("beats", tmp_path, "models=[lstm]", "study_name=s", *FAST, "report.explained=8")
    features = sys.modules["ehrbench.features.tiny"]
    monkeypatch.setattr(features, "NamedSequence", NamedSequence, raising=False)
    monkeypatch.setattr(NamedSequence, "__module__", features.__name__)
    views = {**config["task"]["views"], "sequence": {"_target_": "ehrbench.features.tiny.NamedSequence"}}
    searching.search({**config, "task": {**config["task"], "views": views}})
    page = whole(tmp_path / "s")
    assert 'id="attribution-lstm"' in page
    assert 'id="hours-lstm"' not in page
