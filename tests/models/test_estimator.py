"""Other libraries' classifiers: where they come from, what is refused before a fit, and their figures."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier

from ehrbench.core.errors import ConfigError, FitError
from ehrbench.core.views import Table, View
from ehrbench.models import classifiers
from ehrbench.models.classifier_graph import NoExport, convert
from ehrbench.models.estimator import Estimator
from tests.models.toy import TARGETS, ToyFeaturizer, records

FOREST = "sklearn.ensemble.ExtraTreesClassifier"


def estimator(
    path: str = FOREST, kind: str = "binary", view: str = "scaled_table", **settings: object
) -> Estimator:
    return Estimator(target=TARGETS[kind], featurizer=ToyFeaturizer(view), estimator=path, **settings)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("os.path", r"^estimator: 'os.path' is under none of sklearn, xgboost, catboost, lightgbm — "),
        ("sklearn.os.system", r"^estimator: cannot import sklearn.os.system"),
        ("sklearn.ensemble.NoSuch", r"^estimator: cannot import sklearn.ensemble.NoSuch \("),
        ("sklearn.svm.LinearSVC", r"^estimator: sklearn.svm.LinearSVC gives no probabilities — "),
        ("sklearn.ensemble", r"^estimator: .*ensemble.* — "),
    ],
)
def test_what_is_no_classifier_of_these_libraries_is_refused(path, said):
    with pytest.raises(ConfigError, match=said):
        estimator(path)


def test_a_library_is_allowed_by_its_name_in_the_yaml():
    with pytest.raises(ConfigError, match=r"^estimator: .* is under none of xgboost —"):
        estimator(libraries=["xgboost"])
    with pytest.raises(ConfigError, match=r"^libraries: 'sklearn' is no list of names —"):
        estimator(libraries="sklearn")
    assert estimator(libraries=["sklearn"])


@pytest.mark.parametrize("path", ["xgboost.XGBClassifier", "catboost.CatBoostClassifier"])
def test_a_library_that_is_not_installed_is_told_with_its_extra(path, monkeypatch):
    monkeypatch.setattr(classifiers, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"is not installed — pip install 'ehrbench\[estimators\]'$"):
        estimator(path)


def test_a_converter_that_is_not_installed_is_told_before_the_search(monkeypatch):
    classifiers._try_out.cache_clear()
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(ConfigError, match=r"^estimator: .*pip install 'ehrbench\[estimators\]'"):
        estimator()
    classifiers._try_out.cache_clear()


@pytest.mark.parametrize(
    ("path", "settings"),
    [
        ("sklearn.gaussian_process.GaussianProcessClassifier", {}),
        ("sklearn.neighbors.KNeighborsClassifier", {"weights": "distance"}),
    ],
)
def test_what_has_no_export_of_its_probabilities_says_so_before_the_search(path, settings):
    with pytest.raises(ConfigError, match=r"^estimator: .* of these settings cannot be exported \(.* — "):
        estimator(path, **settings)


@pytest.mark.parametrize("fixed", ["random_state", "n_jobs"])
def test_seed_and_threads_are_no_settings(fixed):
    with pytest.raises(
        ConfigError, match=rf"^{fixed}: unknown setting of ExtraTreesClassifier — it takes n_est"
    ):
        estimator(**{fixed: 1})


def test_the_setting_that_a_library_refuses_is_named_among_several():
    with pytest.raises(ConfigError, match=r"^min_samples_leaf: ExtraTreesClassifier refuses 0 \("):
        estimator(n_estimators=50, min_samples_leaf=0, max_features=0.5)


def test_it_gives_the_librarys_own_probabilities():
    """The graph that predicts against scikit-learn fitted by hand on the same rows."""
    model, train, test = (
        estimator(n_estimators=20, min_samples_leaf=3),
        records("binary"),
        records("binary", 40, 2),
    )
    model.fit(train, None, seed=4)
    rows = [model.featurizer.transform(part).arrays()["values"] for part in (train, test)]
    by_hand = ExtraTreesClassifier(20, min_samples_leaf=3, random_state=4).fit(rows[0], train.labels[:, 0])
    np.testing.assert_allclose(model.predict(test)[:, 0], by_hand.predict_proba(rows[1])[:, 1], atol=2e-6)


class Holes(ToyFeaturizer):
    """A table whose larger values are missing: that they are says something."""

    def apply(self, view: View) -> View:
        table = super().apply(view)
        assert isinstance(table, Table)
        return Table(np.where(table.values > 0.8, np.nan, table.values).astype(np.float32), table.names)


@pytest.mark.parametrize(
    "path",
    [
        "sklearn.ensemble.HistGradientBoostingClassifier",
        "xgboost.XGBClassifier",
        "catboost.CatBoostClassifier",
        "lightgbm.LGBMClassifier",
    ],
)
def test_missing_values_go_their_own_way_or_become_the_training_median(path):
    train, test = records("binary"), records("binary", 40, seed=2)
    p = {}
    for fill in ("none", "median"):
        model = Estimator(
            target=TARGETS["binary"], featurizer=Holes("scaled_table"), estimator=path, fill=fill
        )
        model.fit(train, None, seed=1)
        p[fill] = model.predict(test)
    assert np.isfinite(p["median"]).all()
    assert np.abs(p["none"] - p["median"]).max() > 0.05


def test_missing_values_that_are_lost_in_the_export_are_noticed():
    """A forest of scikit-learn sends them where they did best, and its ONNX graph all one way."""
    with pytest.raises(
        ConfigError, match=r"its graph gives other probabilities, .* — fill: median, or another$"
    ):
        estimator("sklearn.ensemble.RandomForestClassifier", fill="none")


def test_a_classifier_that_takes_no_missing_values_says_what_to_do():
    with pytest.raises(
        ConfigError, match=r"^fill: GaussianNB takes no missing values \(.*\) — fill: median$"
    ):
        estimator("sklearn.naive_bayes.GaussianNB", fill="none")


def test_a_class_never_seen_has_its_share_and_one_of_several_almost_nothing():
    labels = records("multilabel").labels.copy()
    labels[:, 2] = 0
    model = estimator(kind="multilabel")
    model.fit(replace(records("multilabel"), target=labels), None, seed=1)
    np.testing.assert_allclose(
        model.predict(records("multilabel", 9))[:, 2], 0.5 / (len(labels) + 1), rtol=1e-4
    )
    train = records("multiclass")
    two = np.where(train.labels[:, [2]] == 1, [[0.0, 1.0, 0.0]], train.labels)
    model = estimator(kind="multiclass")
    model.fit(replace(train, target=two), None, seed=1)
    assert (model.predict(records("multiclass", 9))[:, 2] < 1e-6).all()


def test_a_graph_of_other_figures_is_no_export():
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    fitted = ExtraTreesClassifier(5, random_state=0).fit(x, x[:, 0] > 0)
    convert(fitted, x)
    fitted.predict_proba = lambda rows: ExtraTreesClassifier.predict_proba(fitted, rows)[:, ::-1]
    with pytest.raises(NoExport, match="its graph gives other probabilities, by"):
        convert(fitted, x)


def test_a_fit_that_cannot_be_exported_fails_its_trial(monkeypatch):
    model = estimator()

    def refuse(fitted, x):
        raise NoExport("its graph gives other probabilities, by 0.1 on average")

    monkeypatch.setattr("ehrbench.models.estimator.convert", refuse)
    with pytest.raises(FitError, match=r"ExtraTreesClassifier cannot be exported \(its graph .*\) — change"):
        model.fit(records("binary"), None, seed=1)
