"""The dataset's door hands out what a purpose may see, refuses the rest, and remembers."""

import numpy as np
import pytest

from ehrbench.core.task import Cohort
from ehrbench.spine import folds
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
