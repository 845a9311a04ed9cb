"""Pruning: stop a trial that will hardly end above the best trial so far.

Predictive power, as trials of drugs are stopped for futility (Spiegelhalter, Freedman & Blackburn 1986,
"Monitoring clinical trials: conditional or predictive power?"). The steps that both trials have, which are
pseudo-values of the metric (see ``race``), are paired: n differences of mean d and standard deviation s, of
the N that a whole trial gives, as the best one did. Under a flat prior the mean of all N is d plus Student's
t on n - 1 degrees of freedom times (N - n) / N s sqrt(1 / n + 1 / (N - n)), and the trial stops when the
chance that this mean is above 0 falls below ``least_chance``.

However often one looks: that chance is a martingale, so among the trials that are stopped at most that share
would have ended above the trial they were compared with. A test for being worse (paired t, or Wilcoxon's
rank test in Optuna's ``WilcoxonPruner``) asks another question, whether a trial differs, and goes on with
trials that have no hope but are not proven bad.
"""

from __future__ import annotations

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from scipy.stats import t as student_t

#: Paired steps before a look.
_FEWEST = 6


class RacePruner(optuna.pruners.BasePruner):
    """least_chance: of ending above the best."""

    def __init__(self, least_chance: float) -> None:
        self.least_chance = least_chance

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether to stop; never a trial whose mean is not below the best complete one's."""
        try:
            best = study.best_trial
        except ValueError:  # none is complete yet
            return False
        steps = sorted(trial.intermediate_values.keys() & best.intermediate_values.keys())
        gain = np.array([trial.intermediate_values[s] - best.intermediate_values[s] for s in steps])
        if study.direction == StudyDirection.MINIMIZE:
            gain = -gain
        n, whole = len(gain), len(best.intermediate_values)
        left = whole - n
        if n < _FEWEST or left <= 0 or not np.isfinite(gain).all() or gain.mean() >= 0:
            return False
        spread = left / whole * gain.std(ddof=1) * np.sqrt(1 / n + 1 / left)
        if spread == 0:  # the same loss everywhere: no doubt is left
            return True
        return bool(student_t.cdf(gain.mean() / spread, n - 1) < self.least_chance)
