"""BagLogistic: scikit-learn's optimum from either side, and equal rows as one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from ehrbench.core.target import Kind
from ehrbench.models import bag_logistic
from ehrbench.models.bag_logistic import BagLogistic
from ehrbench.models.sparse_rows import csr
from tests.models.toy import TARGETS, ToyFeaturizer, records


def model(kind: Kind, **settings: float) -> BagLogistic:
    return BagLogistic(target=TARGETS[kind], featurizer=ToyFeaturizer("bag"), max_iter=1000, **settings)


@pytest.mark.parametrize("most", [0, 8192])
@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_it_is_scikit_learn_s(kind: Kind, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By terms, and (of fewer rows than terms) by the rows' scalar products."""
    monkeypatch.setattr(bag_logistic, "MOST_PRODUCTS", most)
    monkeypatch.setattr(bag_logistic, "TOLERANCE", 1e-12)
    train, test = records(kind, 12), records(kind, 30, seed=1)
    view = ToyFeaturizer("bag").transform(train)
    assert len(view) < view.n_columns
    own = model(kind, C=2.0)
    own.fit(train, None, seed=0)
    label = train.labels.argmax(axis=1) if kind == "multiclass" else train.labels[:, 0]
    theirs = LogisticRegression(C=2.0, tol=1e-10, max_iter=10_000).fit(csr(view), label)
    p = theirs.predict_proba(csr(ToyFeaturizer("bag").transform(test)))
    np.testing.assert_allclose(own.predict(test), p if kind == "multiclass" else p[:, 1:], atol=2e-3)


def test_rows_told_twice_count_twice() -> None:
    """As if each stood alone: the penalty of one, the loss of two."""
    one = records("multilabel", 40)
    twice = one.take(np.repeat(np.arange(40), 2))
    single, double = model("multilabel", C=4.0), model("multilabel", C=2.0)
    single.fit(one, None, seed=0)
    double.fit(twice, None, seed=0)
    test = records("multilabel", 30, seed=1)
    np.testing.assert_allclose(single.predict(test), double.predict(test), atol=2e-3)


def test_equal_rows_of_other_labels_give_shares() -> None:
    train = records("multiclass", 60)
    index = np.repeat(np.arange(60), 2)
    twice = train.take(index)
    y = twice.labels.copy()
    y[1::2] = np.roll(y[1::2], 1, axis=1)
    own = model("multiclass", C=100.0)
    own.fit(replace(twice, target=y), None, seed=0)
    assert np.isfinite(own.predict(train)).all()
    assert own.predict(train).max(axis=1).mean() < 0.75
