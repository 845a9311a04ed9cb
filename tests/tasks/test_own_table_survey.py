"""The survey that diabetes reads, as a person's own table: the same numbers and so the same figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ehrbench.core.task import Cohort
from ehrbench.core.types import IntArray
from ehrbench.features.rows import Rows
from ehrbench.publishers.brfss2015 import BRFSS2015
from ehrbench.publishers.own_table_files import OwnTableFiles
from ehrbench.spine.folds import split_groups
from ehrbench.tasks.brfss2015 import LABEL
from ehrbench.tasks.diabetes import Diabetes
from ehrbench.tasks.own_table import OwnTable


def both(folder: Path) -> tuple[Cohort, Cohort]:
    """The published table of a folder by diabetes's publisher, and as anybody's."""
    (path,) = (folder / "diabetes").glob("*.zip")
    own = OwnTableFiles(OwnTable(label=LABEL.name), str(path))
    own.settle(folder)
    return BRFSS2015(Diabetes()).read(folder, ()), own.read(folder, ())


def firsts(cohort: Cohort) -> IntArray:
    """(N,) the first record of those that each one may not be parted from."""
    _, first, group = np.unique(split_groups(cohort.records), return_index=True, return_inverse=True)
    return np.asarray(first[group])


def check_alike(folder: Path) -> None:
    """The same answers, outcomes, and people who must not be parted: all that folds and models are given."""
    expected, found = both(folder)
    np.testing.assert_array_equal(found.records.labels, expected.records.labels)
    np.testing.assert_array_equal(firsts(found), firsts(expected))
    one, other = (cohort.records.payload for cohort in (found, expected))
    assert isinstance(one, Rows)
    assert isinstance(other, Rows)
    assert one.names == other.names
    np.testing.assert_array_equal(one.values, other.values)
    assert not one.levels, "answers are numbers, so that trees and networks get them as diabetes's do"
    assert [note for note in found.notes if "by itself" in note or "left out" in note] == []


def test_simulated_answers_are_diabetes_s(tmp_path: Path) -> None:
    BRFSS2015(Diabetes()).simulate(tmp_path, 4000, seed=5)
    check_alike(tmp_path)


@pytest.mark.data
def test_the_published_answers_are_diabetes_s(data: Path) -> None:
    check_alike(data)
