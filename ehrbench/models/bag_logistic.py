"""BagLogistic: L2-regularised logistic regression on sparse rows, all classes at once.

Some thousand texts have far more terms than there are texts, and the optimum is a combination of the training
rows (Schölkopf, Herbrich & Smola 2001, "A generalized representer theorem", theorem 1). So rows X (N, F) are
first turned into a triangle L (N, N) with the same scalar products, L Lᵀ = X Xᵀ, which changes no score and
no length of coefficients. Where there are many texts the terms' own coefficients are sought.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import sparse
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, logit
from threadpoolctl import threadpool_limits

from ehrbench.core.errors import ConfigError, FitError
from ehrbench.core.model import FitResult, Watch, silent
from ehrbench.core.records import Records
from ehrbench.core.types import FloatArray
from ehrbench.core.views import Bag, View
from ehrbench.models.labels import check_learnable
from ehrbench.models.linear import Linear
from ehrbench.models.settings import check_integer, check_range
from ehrbench.models.sparse_rows import csr

#: Training rows up to which their scalar products are taken; 8192 of them are 256 MiB.
MOST_PRODUCTS = 8192
#: Added to the rows' squared lengths: equal rows would leave the triangle without an inverse.
JITTER = 1e-4
#: Least relative gain of an iteration.
TOLERANCE = 1e-7
#: Score of a class that training never saw, where classes exclude each other: below all others.
NEVER = -16.0


@dataclass(kw_only=True, eq=False)
class BagLogistic(Linear):
    """C: inverse strength of the L2 penalty on all but the intercepts. max_iter: of L-BFGS.

    Takes a ``Bag``. A class seen in one state only gets its frequency as a constant.
    """

    member: ClassVar[str] = "bag_linear"
    C: float = 30.0
    max_iter: int = 60
    threads: int = 1

    def __post_init__(self) -> None:
        check_range("C", self.C, 1e-8, 1e8)
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
        known = ~np.isnan(y)
        if self.target.kind == "multiclass":
            known &= known.all(axis=1, keepdims=True)
        some = known.any(axis=1)
        x, y, known = _distinct(x[some], np.nan_to_num(y[some]), known[some].astype(np.float64))
        with threadpool_limits(self.threads):
            coefficient, intercept = self._solve(x, y, known)
        if not (np.isfinite(coefficient).all() and np.isfinite(intercept).all()):
            raise FitError("logistic regression gave coefficients that are not finite — lower C")
        positive, count = y.sum(axis=0), known.sum(axis=0)
        constant = (positive == 0) | (positive == count)
        coefficient[:, constant] = 0
        share = (positive[constant] + 0.5) / (count[constant] + 1)
        intercept[constant] = NEVER if self.target.kind == "multiclass" else logit(share)
        self._coefficient, self._intercept = coefficient.astype(np.float32), intercept
        watch(1, 1, {})
        return FitResult(1, ((1, {}),))

    def _solve(self, x: sparse.csr_matrix, y: FloatArray, known: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Coefficients (F, C) and intercepts (C,).

        x: distinct rows (N, F); y, known: how many of each row's labels are positive, and known, (N, C).
        """
        dual = x.shape[0] <= min(x.shape[1], MOST_PRODUCTS)
        products = (x @ x.T).toarray() + JITTER * np.eye(len(y), dtype=np.float32) if dual else None
        rows = x if products is None else cholesky(products.astype(np.float64), lower=True).astype(np.float32)
        shape, loss = (rows.shape[1], y.shape[1]), self._loss

        def objective(point: FloatArray) -> tuple[float, FloatArray]:
            w, b = point[: -shape[1]].reshape(shape), point[-shape[1] :]
            # products in single precision: twice as quick, and far finer than where L-BFGS stops
            value, slope = loss((rows @ w.astype(np.float32)).astype(np.float64) + b, y, known)
            gradient = rows.T @ slope.astype(np.float32) + w / self.C
            value += float(np.vdot(w, w)) / (2 * self.C)
            return value, np.concatenate([gradient.ravel(), slope.sum(axis=0)])

        share = (y.sum(axis=0) + 0.5) / (known.sum(axis=0) + 1)
        start = np.log(share) if self.target.kind == "multiclass" else logit(share)
        found = minimize(
            objective,
            np.concatenate([np.zeros(shape[0] * shape[1]), start]),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": self.max_iter, "maxfun": 2 * self.max_iter, "ftol": TOLERANCE},
        ).x
        w = found[: -shape[1]].reshape(shape)
        return (x.T @ solve_triangular(rows, w, lower=True, trans=1) if dual else w), found[-shape[1] :]

    def _loss(self, scores: FloatArray, y: FloatArray, known: FloatArray) -> tuple[float, FloatArray]:
        """Log loss summed over known labels, and its slope (N, C)."""
        if self.target.kind == "multiclass":
            log_p = log_softmax(scores, axis=1)
            return -float((y * log_p).sum()), known * np.exp(log_p) - y
        value = float((known * np.logaddexp(0, scores) - y * scores).sum())
        return value, known * expit(scores) - y

    def features(self, view: View) -> sparse.csr_matrix:
        if not isinstance(view, Bag):
            raise ConfigError(
                "view", f"BagLogistic takes a Bag, not a {type(view).__name__}", "use view: bag"
            )
        return csr(view)


def _distinct(
    x: sparse.csr_matrix, y: FloatArray, known: FloatArray
) -> tuple[sparse.csr_matrix, FloatArray, FloatArray]:
    """Equal rows as one, their labels added up: the same loss of fewer products."""
    ends = zip(x.indptr[:-1], x.indptr[1:], strict=True)
    keys = [x.indices[a:b].tobytes() + x.data[a:b].tobytes() for a, b in ends]
    number: dict[bytes, int] = {}
    of_row = np.array([number.setdefault(key, len(number)) for key in keys])
    first = np.unique(of_row, return_index=True)[1]
    totals = [np.zeros((len(first), y.shape[1])) for _ in range(2)]
    for total, part in zip(totals, (y, known), strict=True):
        np.add.at(total, of_row, part)
    return x[first], totals[0], totals[1]
