from __future__ import annotations

import os
import warnings
from dataclasses import replace

import numpy as np
import pytest

from ehrbench.features.grid import Grid
from ehrbench.features.statistics import Statistics
from ehrbench.features.stored import RowStore, read_folder, write_folder
from tests.features.conformance import assert_same
from tests.features.payloads import random_events, records_of


@pytest.mark.parametrize("featurizer", [Statistics(), Grid(delta=True)])
def test_a_stored_view_is_the_computed_one(tmp_path, featurizer, monkeypatch):
    events = random_events(20, 1)
    plain = featurizer.rows(records_of(events))
    stored = replace(events, store=RowStore(tmp_path))
    assert_same(featurizer.rows(records_of(stored)), plain)
    assert len(list(tmp_path.glob("rows-*"))) == 1
    monkeypatch.setattr(type(featurizer), "_table", None, raising=False)
    monkeypatch.setattr(type(featurizer), "_bin", None, raising=False)  # computing again would now fail
    again = featurizer.rows(records_of(stored))
    assert_same(again, plain)
    assert getattr(again, "names", ()) == getattr(plain, "names", ())
    assert getattr(again, "channels", ()) == getattr(plain, "channels", ())


def test_part_of_a_cohort_is_never_stored_nor_read(tmp_path):
    events = replace(random_events(20, 1), store=RowStore(tmp_path))
    part = events.take(np.arange(5))
    assert part.store is None
    assert len(Statistics().rows(records_of(part))) == 5
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("harm", ["cut", "flip", "index", "missing"])
def test_a_damaged_folder_is_made_again(tmp_path, harm):
    folder = tmp_path / "x"
    assert write_folder(folder, {"a": np.arange(1000.0)}, {"n": 1})
    file = folder / "a.npy"
    if harm == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif harm == "flip":
        body = bytearray(file.read_bytes())
        body[-5] ^= 1
        file.write_bytes(body)
        os.utime(file, ns=(0, 0))  # a clock as coarse as some file systems' would show no other time yet
    elif harm == "index":
        (folder / "index.json").write_text("{")
    else:
        file.unlink()
    assert read_folder(folder) is None
    assert not folder.exists()
    assert write_folder(folder, {"a": np.arange(3)}, {"n": 2})
    arrays, facts = read_folder(folder)
    assert arrays["a"].tolist() == [0, 1, 2]
    assert facts == {"n": 2}


def test_a_place_that_cannot_be_written_costs_a_warning_only(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    events = replace(random_events(5, 1), store=RowStore(blocker / "cache"))
    with pytest.warns(UserWarning, match="goes on without a cache"):
        assert len(Statistics().rows(records_of(events))) == 5


def test_only_the_newest_views_stay(tmp_path):
    events = replace(random_events(5, 1), store=RowStore(tmp_path, keep=2))
    for step in (1, 2, 3, 4):
        Grid(step_hours=step).rows(records_of(events))
    assert len(list(tmp_path.glob("rows-*"))) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Grid(step_hours=1).rows(records_of(events))
