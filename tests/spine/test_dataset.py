"""The dataset's door hands out what a purpose may see, refuses the rest, and remembers."""

from dataclasses import replace

import numpy as np
import pytest

from ehrbench.core.task import Cohort
from ehrbench.core.views import Table
from ehrbench.spine import folds
from ehrbench.spine.counterfactual import without_test
from ehrbench.spine.dataset import Dataset, Leak
from tests.spine.test_folds import cohort


@pytest.fixture
def dataset():
    return Dataset(Cohort(cohort(200, 10**6, 0), ("s",)))


@pytest.fixture
def fold(dataset):
    return folds.nested(dataset.cohort.records, 4, 3, 0).outer[1]


@pytest.mark.parametrize("purpose", ["fit", "stop", "select", "prune", "stack", "calibrate", "threshold"])
def test_outer_test_records_are_refused_to_every_purpose_but_the_test(dataset, fold, purpose):
    with pytest.raises(Leak, match=f"outer fold 1: {purpose} asked for record"):
        dataset.open(fold, purpose, np.r_[fold.train[:5], fold.test[:1]])


def test_the_test_may_not_ask_for_training_records(dataset, fold):
    with pytest.raises(Leak):
        dataset.open(fold, "test", fold.train[:1])


def test_what_was_handed_out_is_remembered_by_purpose(dataset, fold):
    dataset.open(fold, "fit", fold.train[:10])
    dataset.open(fold, "fit", fold.train[5:20])
    dataset.open(fold, "test", fold.test)
    log = dataset.handed_out(fold)
    assert log["fit"].tolist() == fold.train[:20].tolist()
    assert log["test"].tolist() == fold.test.tolist()


def test_a_purpose_nobody_knows_is_a_bug(dataset, fold):
    with pytest.raises(ValueError, match="unknown purpose"):
        dataset.open(fold, "peek", fold.train)


def test_auxiliary_labels_go_with_the_records_and_are_replaced_with_them(dataset, fold):
    """Each record's number as its auxiliary label: handed out with it, another's in the counterfactual."""
    records = dataset.cohort.records
    numbered = replace(records, auxiliary={"number": np.arange(records.total_units, dtype=float)})
    dataset = Dataset(Cohort(numbered, ("s",)))
    assert dataset.digest != Dataset(Cohort(records, ("s",))).digest
    handed = dataset.open(fold, "fit", fold.train)
    np.testing.assert_array_equal(handed.auxiliary["number"], records.units_of(fold.train))

    other = without_test(dataset, fold, seed=0)
    np.testing.assert_array_equal(
        other.open(fold, "fit", fold.train).auxiliary["number"], handed.auxiliary["number"]
    )
    instead = other.open(fold, "test", fold.test).auxiliary["number"]
    assert set(instead) <= set(handed.auxiliary["number"])


def test_no_label_is_reached_through_what_a_model_is_given(dataset, fold):
    """Rows are computed for the whole cohort, outer test included: from payloads, never from labels."""
    records = dataset.cohort.records
    known = replace(records, auxiliary={"later": records.target[:, 0]})
    given = Dataset(Cohort(known, ("s",))).open(fold, "fit", fold.train)
    seen = []

    def rows(whole):
        seen.append(whole)
        return Table(np.zeros((whole.total_units, 1)), ("zero",))

    assert len(given.rows("peek", rows)) == given.total_units
    assert len(given.without_labels().rows("peek again", rows)) == given.total_units
    for whole in (*seen, given._origin.cohort.records):
        assert len(whole) == len(records)
        assert whole.target is None
        assert not whole.auxiliary
        assert len(whole.rows("within", rows)) == records.total_units
