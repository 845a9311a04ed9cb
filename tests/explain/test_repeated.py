"""Asking again what a change does not reach gives the figures of asking anew."""

import lightgbm
import numpy as np
import pytest

from ehrbench.ensemble import Ensemble
from ehrbench.explain.payloads import exchanged, parameters, until
from ehrbench.explain.repeated import Repeated, WrittenTrees
from ehrbench.features.scaling import Scaling
from ehrbench.features.statistics import Statistics
from ehrbench.models.lightgbm import LightGBM
from ehrbench.models.logistic import Logistic
from ehrbench.publishers.physionet2012 import PhysioNet2012
from ehrbench.spine.procedure import ENSEMBLE_NAME, Fitted
from ehrbench.tasks.mortality import Mortality
from tests.explain.records import cohort


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """A procedure of trees and a linear model, and records that it has not seen."""
    task = Mortality()
    with pytest.MonkeyPatch.context() as patch:
        records = cohort(PhysioNet2012(task), tmp_path_factory.mktemp("again"), 200, patch).records
    train, rest = records.take(np.arange(120)), records.take(np.arange(120, 200)).cached()
    models = {
        "trees": [LightGBM(target=task.target, featurizer=Statistics(), n_estimators=15)],
        "linear": [Logistic(target=task.target, featurizer=Statistics(scaling="quantile")) for _ in range(2)],
    }
    for several in models.values():
        for number, model in enumerate(several):
            model.fit(train.take(np.arange(40 * number, 120)), None, seed=number)
    scores = {name: task.target.scores(m[0].predict(train)) for name, m in models.items()}
    ensemble = Ensemble().fit(scores, train.labels, target=task.target, fold=np.arange(len(train)) % 3)
    return Fitted(models, ensemble, task.target), rest.without_labels()


def test_every_exchange_is_answered_as_if_it_were_asked_anew(asked):
    fitted, records = asked
    again, order = Repeated(fitted, records), np.random.default_rng(0).permutation(len(records))
    for parameter in parameters(records.payload):
        index, changed = exchanged(records, parameter, order)
        anew = {name: p.copy() for name, p in fitted.predict(records).items()}
        for name, p in fitted.predict(changed).items() if len(index) else ():
            anew[name][index] = p
        said = again.exchanged(parameter, order)
        assert said.keys() == anew.keys() == {*fitted.models, ENSEMBLE_NAME}
        for name, p in anew.items():
            np.testing.assert_allclose(said[name], p, rtol=0, atol=1e-12, err_msg=f"{name}, {parameter}")


def test_a_course_is_that_of_asking_anew(asked):
    fitted, records = asked
    again = Repeated(fitted, records)
    for hour in (47, 40, 13, 1):
        followed, anew = again.follow(until(records, hour)), fitted.predict(until(records, hour))
        for name, p in anew.items():
            np.testing.assert_array_equal(followed[name], p, err_msg=f"{name}, {hour}")


def test_an_exchange_has_few_cells_scaled(asked, monkeypatch):
    fitted, records = asked
    again, order, seen = Repeated(fitted, records), np.random.default_rng(0).permutation(len(records)), []
    scale = Scaling._normal_scores

    def counted(self, values, columns=None):
        seen.append(values.size)
        return scale(self, values, columns)

    monkeypatch.setattr(Scaling, "_normal_scores", counted)
    again.exchanged("GCS", order)
    assert 0 < sum(seen) < 0.05 * 2 * records.payload.take(order).digests().size * 900


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_the_trees_that_a_change_reaches_tell_what_it_changes(kind):
    rng = np.random.default_rng(0)
    x, n_classes = rng.normal(size=(400, 6)), 1 if kind == "binary" else 3
    x[rng.random(x.shape) < 0.2] = np.nan
    y = (np.nan_to_num(x[:, 0]) > 0).astype(int) + (n_classes > 1) * (np.nan_to_num(x[:, 5]) > 0)
    more = {} if n_classes == 1 else {"num_class": n_classes}
    params = {"objective": kind, "num_leaves": 4, "feature_fraction": 0.3, "verbosity": -1, **more}
    booster = lightgbm.train(params, lightgbm.Dataset(x, y), 30)
    changed = x.copy()
    changed[:, 2] = x[::-1, 2]
    part = WrittenTrees(booster).reached(frozenset({2}))
    assert 0 < part.num_trees() < booster.num_trees()
    told = part.predict(changed, raw_score=True) - part.predict(x, raw_score=True)
    whole = booster.predict(changed, raw_score=True) - booster.predict(x, raw_score=True)
    assert np.abs(whole).max() > 0.01
    np.testing.assert_allclose(told, whole, rtol=0, atol=1e-12)
    nothing = WrittenTrees(booster).reached(frozenset())
    assert not nothing.num_trees()
