"""Logistic: L2-regularised logistic regression (scikit-learn), the baseline every other model has to beat.

Multi-class is multinomial, multi-label one regression a class. A class that training never saw in both states
gets its frequency as a constant.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import logit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from ehrbench.core.errors import ConfigError, FitError
from ehrbench.core.model import FitResult, Watch, silent
from ehrbench.core.records import Records
from ehrbench.core.types import FloatArray
from ehrbench.core.views import View
from ehrbench.models.labels import check_learnable, class_weights
from ehrbench.models.linear import Linear
from ehrbench.models.settings import check_integer, check_range


@dataclass(kw_only=True, eq=False)
class Logistic(Linear):
    """C: inverse strength of the L2 penalty on all but the intercept. max_iter: of L-BFGS.

    class_weight_power: 0 no weighting, 1 balanced classes; the intercept is set back, so scores stay
    calibrated. Takes a table without missing values.
    """

    member: ClassVar[str] = "linear"
    C: float = 0.002
    class_weight_power: float = 0.0
    max_iter: int = 1000
    threads: int = 1

    def __post_init__(self) -> None:
        check_range("C", self.C, 1e-8, 1e8)
        check_range("class_weight_power", self.class_weight_power, 0.0, 1.0)
        check_integer("max_iter", self.max_iter, 1, 1_000_000)
        check_integer("threads", self.threads, 1, 1024)

    def fit(
        self,
        train: Records,
        valid: Records | None,
        *,
        seed: int,
        steps: int | None = None,
        watch: Watch = silent,
    ) -> FitResult:
        """Convex: needs no validation records, no seed and no steps."""
        y = train.labels
        check_learnable(y, self.target)
        self.featurizer.fit(train)
        x = self.features(self.featurizer.transform(train))
        log_weights = np.log(class_weights(y, self.target, self.class_weight_power))
        with threadpool_limits(self.threads):
            if self.target.kind == "multiclass":
                coefficient, intercept = self._multinomial(x, y, log_weights)
            else:
                fits = [self._one(x, y[:, k], log_weights[k]) for k in range(self.target.n_classes)]
                coefficient, intercept = (np.stack(part, axis=-1) for part in zip(*fits, strict=True))
        if not (np.isfinite(coefficient).all() and np.isfinite(intercept).all()):
            raise FitError("logistic regression gave coefficients that are not finite — lower C")
        self._coefficient, self._intercept = coefficient, intercept
        watch(1, 1, {})
        return FitResult(1, ((1, {}),))

    def _one(self, x: FloatArray, y: FloatArray, log_weight: float) -> tuple[FloatArray, float]:
        """Coefficients (F,) and intercept for labels (U,), NaN where unknown."""
        known = ~np.isnan(y)
        if not known.any() or (y[known] == y[known][0]).all():
            share = (y[known].sum() + 0.5) / (known.sum() + 1)
            return np.zeros(x.shape[1]), float(logit(share))
        weight = np.where(y[known] == 1, np.exp(log_weight), 1.0)
        fitted = self._regression(x[known], y[known], weight)
        return fitted.coef_[0], float(fitted.intercept_[0] - log_weight)

    def _multinomial(
        self, x: FloatArray, y: FloatArray, log_weights: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Coefficients (F, C), intercept (C,); a class never seen keeps a score below all others."""
        known = ~np.isnan(y).any(axis=1)
        label = y[known].argmax(axis=1)
        fitted = self._regression(x[known], label, np.exp(log_weights)[label])
        seen = fitted.classes_.astype(int)
        coefficient, intercept = np.zeros((x.shape[1], y.shape[1])), np.full(y.shape[1], -16.0)
        if len(seen) == 2:  # scikit-learn gives the difference of the two
            coefficient[:, seen[1]], intercept[seen] = fitted.coef_[0], (0.0, fitted.intercept_[0])
        else:
            coefficient[:, seen], intercept[seen] = fitted.coef_.T, fitted.intercept_
        intercept[seen] -= log_weights[seen]
        return coefficient, intercept

    def _regression(self, x: FloatArray, y: FloatArray, weight: FloatArray) -> LogisticRegression:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a baseline near its optimum is one, too
            return LogisticRegression(C=self.C, max_iter=self.max_iter).fit(x, y, sample_weight=weight)

    def features(self, view: View) -> FloatArray:
        """(U, F) float64 values of a table without gaps."""
        arrays = view.arrays()
        if set(arrays) != {"values"} or arrays["values"].ndim != 2:
            raise ConfigError(
                "view", f"Logistic takes a Table, not a {type(view).__name__}", "use view: scaled_table"
            )
        values = np.asarray(arrays["values"], dtype=np.float64)
        if np.isnan(values).any():
            raise ConfigError(
                "view", "Logistic takes a table without missing values", "use view: scaled_table"
            )
        return values
