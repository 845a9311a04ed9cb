"""Pruning: stop a trial whose paired steps say that it is worse than the best trial so far.

A one-sided Wilcoxon signed-rank test over the steps both trials have (Wilcoxon 1945; the normal
approximation, zeros split between the signs), as Optuna's ``WilcoxonPruner`` does, whose exact test takes
seconds a call when steps tie. The spine looks once after each inner fold but the last, so ``p_threshold`` is
divided by the number of looks (Bonferroni): over a whole trial a trial as good as the best is stopped with at
most that probability.
"""

from __future__ import annotations

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from scipy.stats import wilcoxon


class RacePruner(optuna.pruners.BasePruner):
    """p_threshold: of a whole trial; n_startup_steps: paired steps before a test; looks: tests a trial."""

    def __init__(self, p_threshold: float, n_startup_steps: int, looks: int) -> None:
        self.p_each = p_threshold / max(looks, 1)
        self.n_startup_steps = n_startup_steps

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether the trial is worse than the best complete one; never a trial whose mean is better."""
        try:
            best = study.best_trial
        except ValueError:  # none is complete yet
            return False
        steps = sorted(trial.intermediate_values.keys() & best.intermediate_values.keys())
        if len(steps) < self.n_startup_steps:
            return False
        gain = np.array([trial.intermediate_values[s] - best.intermediate_values[s] for s in steps])
        if study.direction == StudyDirection.MINIMIZE:
            gain = -gain
        if not np.isfinite(gain).all() or gain.mean() >= 0:
            return False
        test = wilcoxon(gain, alternative="less", zero_method="zsplit", method="asymptotic")
        return bool(test.pvalue < self.p_each)
