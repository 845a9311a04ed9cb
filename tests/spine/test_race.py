"""Race steps are paired between trials and point the way the metric points."""

import numpy as np
import pytest

from ehrbench import metrics
from ehrbench.core.target import Target
from ehrbench.spine.race import Race
from tests.spine.test_folds import cohort

TARGET = Target("binary", ("event",))


def test_steps_are_the_same_for_every_trial_and_their_mean_is_the_metric():
    records = cohort(400, 10**6, 0)
    auroc = metrics.load("auroc")
    race = Race(auroc, TARGET, blocks=20)
    noise = np.random.default_rng(0).random((400, 1))
    good = 0.5 * records.labels + 0.5 * noise
    one, other = race.steps(records, good, 2, seed=5), race.steps(records, noise, 2, seed=5)
    assert list(one) == list(other) == list(range(40, 60))
    for steps, p in ((one, good), (other, noise)):
        expected = auroc(records.labels, p, target=TARGET)
        assert np.mean(list(steps.values())) == pytest.approx(expected, abs=2e-3)


def test_their_spread_is_the_standard_error_of_a_paired_difference():
    auroc = metrics.load("auroc")
    race = Race(auroc, TARGET, blocks=20)
    differences, claimed = [], []
    for seed in range(60):
        records = cohort(300, 10**6, seed)
        rng = np.random.default_rng(seed)
        signal = records.labels + rng.normal(size=(300, 1))
        p, q = (1 / (1 + np.exp(-signal - 0.5 * rng.normal(size=(300, 1)))) for _ in range(2))
        gain = [a - b for a, b in zip(*(race.steps(records, x, 0, 1).values() for x in (p, q)), strict=True)]
        differences.append(auroc(records.labels, p, target=TARGET) - auroc(records.labels, q, target=TARGET))
        claimed.append(np.std(gain, ddof=1) / np.sqrt(len(gain)))
    assert 0.75 < np.mean(claimed) / np.std(differences) < 1.35


@pytest.mark.parametrize("name", ["calibration_slope", "calibration_intercept"])
@pytest.mark.parametrize("shift", [-0.6, 0.0, 0.6])  # the last stands on the corner of the distance
def test_of_a_metric_with_an_ideal_its_distance_is_raced(name, shift):
    records, metric = cohort(600, 10**6, 3), metrics.load(name)
    rng = np.random.default_rng(3)
    score = rng.normal(size=(600, 1))
    records.labels[:] = rng.random((600, 1)) < 1 / (1 + np.exp(-score))
    p = 1 / (1 + np.exp(-(1 + shift) * score - shift))
    steps = Race(metric, TARGET, blocks=20).steps(records, p, 0, seed=5)
    expected = metric.searched(records.labels, p, target=TARGET)
    assert np.mean(list(steps.values())) == pytest.approx(expected, abs=0.02)


def test_a_group_is_in_one_block():
    """Records of one patient err together: apart, they would make the pairs' spread too small."""
    records = cohort(400, 100, 2)
    block = Race(metrics.load("auroc"), TARGET, blocks=20)._block_of_record(records, 3)
    assert len(set(zip(records.groups, block, strict=True))) == len(np.unique(records.groups))
    assert len(np.unique(block)) == 20


def test_fewer_groups_than_blocks_give_a_step_each():
    """An empty block would give the metric itself, a step without spread: any difference would look sure."""
    auroc, differences, claimed = metrics.load("auroc"), [], []
    race = Race(auroc, TARGET, blocks=20)
    for seed in range(60):
        records = cohort(360, 9, seed)
        rng = np.random.default_rng(seed)
        own = rng.normal(size=(2, 9))[
            :, np.unique(records.groups, return_inverse=True)[1], None
        ]  # of a patient
        p, q = (1 / (1 + np.exp(-records.labels - o - rng.normal(size=(360, 1)))) for o in own)
        one, other = race.steps(records, p, 3, 1), race.steps(records, q, 3, 1)
        assert list(one) == list(other) == list(range(60, 60 + 9))
        gain = np.subtract([*one.values()], [*other.values()])
        differences.append(auroc(records.labels, p, target=TARGET) - auroc(records.labels, q, target=TARGET))
        claimed.append(np.std(gain, ddof=1) / np.sqrt(len(gain)))
    assert 0.75 < np.mean(claimed) / np.std(differences) < 1.35


def test_blocks_hold_equal_shares_of_positives():
    records = cohort(400, 10**6, 1)
    block = Race(metrics.load("auroc"), TARGET, blocks=4)._block_of_record(records, 3)
    positives = [records.labels[block == b].sum() for b in range(4)]
    assert np.ptp(positives) <= 1


def test_a_fold_without_a_value_gives_no_step_to_any_trial():
    records = cohort(40, 10**6, 2)
    records.labels[:] = 0
    records.labels[0] = 1  # without the block of the one positive there is no AUROC
    assert Race(metrics.load("auroc"), TARGET, 20).steps(records, np.full((40, 1), 0.5), 0, seed=0) == {}
