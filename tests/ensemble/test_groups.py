"""Units of one group are not independent: beats of a recording count as their recordings do."""

from __future__ import annotations

import numpy as np
import pytest

from ehrbench.ensemble import COMBINERS, Ensemble
from ehrbench.ensemble._choice import compare, standard_error
from tests.ensemble.simulated import BINARY, TARGETS, members


def repeated(times, target=BINARY, **sizes):
    """Each unit ``times`` over, one after another, as beats that say all the same; and whose they are."""
    scores, y, fold = members(target, **sizes)
    owner = np.repeat(np.random.default_rng(0).permutation(len(y)), times)  # names in no order
    many = {name: np.repeat(z, times, axis=0) for name, z in scores.items()}
    return many, np.repeat(y, times, axis=0), np.repeat(fold, times), owner


def test_one_unit_a_group_is_the_plain_standard_error_to_the_last_bit():
    values = np.random.default_rng(0).normal(size=(4, 999))
    plain = values.std(axis=1) / np.sqrt(999)
    assert np.array_equal(standard_error(values, np.random.default_rng(1).permutation(999)), plain)


def test_repeating_units_brings_no_certainty():
    values = np.random.default_rng(0).normal(size=(4, 200))
    group = np.repeat(np.arange(200), 7)
    again = standard_error(np.repeat(values, 7, axis=1), group)
    np.testing.assert_allclose(again, values.std(axis=1) / np.sqrt(200), rtol=1e-12)


def test_the_standard_error_is_that_of_groups_of_any_size():
    """40 recordings of 20 to 200 beats with an error in common: the spread of the mean over 2,000 cohorts."""
    rng = np.random.default_rng(0)
    means, claimed, naive = [], [], []
    for _ in range(2000):
        group = np.repeat(np.arange(40), rng.integers(20, 200, 40))
        values = rng.normal(size=40)[group] + rng.normal(size=len(group))
        means.append(values.mean())
        claimed.append(standard_error(values[None], group)[0])
        naive.append(standard_error(values[None], np.arange(len(group)))[0])
    assert np.mean(claimed) == pytest.approx(np.std(means), rel=0.08)
    assert np.mean(naive) < np.std(means) / 5


def test_noise_between_groups_is_no_reason_to_leave_the_simplest():
    rng = np.random.default_rng(2)
    group = np.repeat(np.arange(20), 100)
    better = -0.02 + 0.1 * rng.normal(size=20)[group]  # by what 20 recordings say, perhaps
    losses = np.stack([np.ones(2000), 1 + better - better.mean() - 0.01])
    assert compare(losses, np.arange(2000)).simplest == 1
    assert compare(losses, group).simplest == 0


@pytest.mark.parametrize("name", COMBINERS)
@pytest.mark.parametrize("kind", TARGETS)
def test_a_combiner_learns_from_beats_what_it_learns_from_their_recordings(name, kind):
    target = TARGETS[kind]
    scores, y, fold = members(target, n=300)
    once = COMBINERS[name]().fit(scores, y, target=target, fold=fold, seed=0)
    many, y, fold, owner = repeated(9, target, n=300)
    again = COMBINERS[name]().fit(many, y, target=target, fold=fold, seed=0, group=owner)
    np.testing.assert_allclose(again.predict(scores), once.predict(scores), rtol=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_an_ensemble_chooses_by_beats_what_it_chooses_by_their_recordings(seed):
    scores, y, fold = members(n=200, seed=seed)
    once = Ensemble().fit(scores, y, target=BINARY, fold=fold).choices()
    many, y, fold, owner = repeated(25, n=200, seed=seed)
    again = Ensemble().fit(many, y, target=BINARY, fold=fold, group=owner).choices()
    assert (again["combiner"], again["calibrator"]) == (once["combiner"], once["calibrator"])
    assert (again["n_units"], again["n_groups"]) == (5000, 200)
    for name in once["calibrators"]:
        error = once["calibrators"][name]["standard_error"]
        assert again["calibrators"][name]["standard_error"] == pytest.approx(error, rel=0.25, abs=1e-4)
