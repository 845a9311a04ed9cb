"""Race steps are paired between trials and point the way the metric points."""

import numpy as np

from ehrbench import metrics
from ehrbench.core.target import Target
from ehrbench.spine.race import Race
from tests.spine.test_folds import cohort

TARGET = Target("binary", ("event",))


def test_steps_are_the_same_for_every_trial_and_better_predictions_win_them():
    records = cohort(400, 10**6, 0)
    race = Race(metrics.load("auroc"), TARGET, blocks=4)
    rng = np.random.default_rng(0)
    noise = rng.random((400, 1))
    good = 0.5 * records.labels + 0.5 * noise
    one, other = race.steps(records, good, 2, seed=5), race.steps(records, noise, 2, seed=5)
    assert list(one) == list(other) == [8, 9, 10, 11]
    assert all(one[step] > other[step] for step in one)


def test_blocks_hold_equal_shares_of_positives():
    records = cohort(400, 10**6, 1)
    block = Race(metrics.load("auroc"), TARGET, blocks=4)._block_of_record(records, 3)
    positives = [records.labels[block == b].sum() for b in range(4)]
    assert np.ptp(positives) <= 1


def test_a_block_without_a_value_gives_no_step_to_any_trial():
    records = cohort(40, 10**6, 2)
    records.labels[:] = 0
    records.labels[0] = 1  # one positive: only its block has an AUROC
    steps = Race(metrics.load("auroc"), TARGET, blocks=4).steps(records, np.full((40, 1), 0.5), 0, seed=0)
    assert len(steps) == 1
