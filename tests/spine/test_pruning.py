"""The race stops what is clearly worse, and leaves alone what is as good, better, or not yet known."""

import numpy as np
import optuna
import pytest

from ehrbench.spine.pruning import RacePruner


def raced(best: np.ndarray, steps: np.ndarray, direction: str, pruner: RacePruner) -> bool:
    study = optuna.create_study(direction=direction, pruner=pruner)
    for values, tell in ((best, True), (steps, False)):
        trial = study.ask()
        for step, value in enumerate(values):
            trial.report(float(value), step)
        if tell:
            study.tell(trial, float(values.mean()))
    return trial.should_prune()


PRUNER = RacePruner(least_chance=0.2)
NOISE = np.random.default_rng(0).normal(0, 0.01, 12)


@pytest.mark.parametrize(("direction", "sign"), [("maximize", 1), ("minimize", -1)])
def test_worse_on_every_step_is_stopped_and_better_is_not(direction, sign):
    best = np.full(20, 0.8)
    assert raced(best, best[:12] - sign * 0.02 + NOISE / 10, direction, PRUNER)
    assert not raced(best, best[:12] + sign * 0.02 + NOISE / 10, direction, PRUNER)


def test_too_few_steps_ties_and_the_first_trial_go_on():
    assert not raced(np.full(20, 0.8), np.full(5, 0.7), "maximize", PRUNER)
    assert not raced(np.full(20, 0.8), np.full(12, 0.8), "maximize", PRUNER)
    study = optuna.create_study(pruner=PRUNER)
    trial = study.ask()
    trial.report(1.0, 0)
    assert not trial.should_prune()


def test_a_whole_trial_is_not_stopped():
    assert not raced(np.full(20, 0.8), np.full(20, 0.7), "maximize", PRUNER)


def test_few_of_the_stopped_would_have_ended_above():
    """True differences of the flat prior's kind, four looks a trial: the promise holds over all looks."""
    rng = np.random.default_rng(1)
    stopped, wrongly = 0, 0
    for _ in range(1000):
        best = rng.normal(0.8, 0.02, 20)
        other = best + rng.normal(0, 0.03) + rng.normal(0, 0.02, 20)
        if any(raced(best, other[: 4 * look], "maximize", PRUNER) for look in (2, 3, 4)):
            stopped += 1
            wrongly += other.mean() > best.mean()
    assert stopped > 300
    assert wrongly / stopped < 0.2
