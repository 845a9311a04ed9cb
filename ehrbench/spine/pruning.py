"""Pruning: stop a trial whose paired steps say that it is worse than the best trial so far.

A one-sided paired t-test over the steps both trials have: pseudo-values of the metric (see ``race``), whose
mean is the metric, so that what is tested is the difference of what the search maximises. A signed-rank test
(Wilcoxon 1945; Optuna's ``WilcoxonPruner``) asks for the median of steps that are not the metric, and has too
few of them after one fold. The spine looks once after each inner fold but the last, so ``p_threshold`` is
divided by the number of looks (Bonferroni): over a whole trial a trial as good as the best is stopped with at
most that probability.
"""

from __future__ import annotations

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from scipy.stats import ttest_1samp

#: Paired steps before a test.
_FEWEST = 6


class RacePruner(optuna.pruners.BasePruner):
    """p_threshold: of a whole trial; looks: tests a trial."""

    def __init__(self, p_threshold: float, looks: int) -> None:
        self.p_each = p_threshold / max(looks, 1)

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether the trial is worse than the best complete one; never a trial whose mean is better."""
        try:
            best = study.best_trial
        except ValueError:  # none is complete yet
            return False
        steps = sorted(trial.intermediate_values.keys() & best.intermediate_values.keys())
        gain = np.array([trial.intermediate_values[s] - best.intermediate_values[s] for s in steps])
        if study.direction == StudyDirection.MINIMIZE:
            gain = -gain
        if len(gain) < _FEWEST or not np.isfinite(gain).all() or gain.mean() >= 0:
            return False
        if np.ptp(gain) == 0:  # the same loss everywhere: no doubt is left
            return True
        return bool(ttest_1samp(gain, 0.0, alternative="less").pvalue < self.p_each)
