"""Every model of ``conf/model``, as its YAML builds it: a new YAML is a new model under test."""

from __future__ import annotations

import functools
import importlib
from typing import Any

from omegaconf import OmegaConf

from ehrbench.app.composed.conf import CONF
from ehrbench.core.model import Model
from ehrbench.core.target import Kind
from tests.features.tiny_bert import tiny_bert
from tests.models.toy import TARGETS, ToyFeaturizer

FOLDER = CONF / "model"
#: A task's own variant of a model goes by ``<task>/<model>``.
NAMES = sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.yaml"))
VIEWS = (
    "sequence",
    "table",
    "scaled_table",
    "signal",
    "bag",
    "words",
    "tokens",
    "pretrained_tokens",
    "image",
)

#: What makes a fit small, where a model has such a setting.
SMALL: dict[str, Any] = {
    "width": 16,
    "n_pairs": 4,
    "rnn_units": 4,
    "top_classifier_units": 32,
    "max_epochs": 3,
    "batch_size": 32,
    "channels": 16,
    "n_estimators": 30,
    "iterations": 30,
    "min_data_in_leaf": 3,
    "feature_fraction": 0.5,
    "learning_rate": 0.02,
}
#: What some need besides: at the others' rate they are far from calm, or last digits of large scores count.
GENTLE: dict[str, dict[str, Any]] = {"cnn": {"learning_rate": 2e-3}, "vit": {"learning_rate": 5e-3}}
#: Other libraries' classifiers on a hundred records.
GENTLE |= {"xgboost": {"learning_rate": 0.1}, "catboost": {"learning_rate": 0.1}}
GENTLE["hist_gradient_boosting"] = {"learning_rate": 0.1, "max_iter": 30}
GENTLE["knn"] = {"n_neighbors": 15}
GENTLE["cardionet"] = {"batch_size": 8}  # of whole recordings: its weights move every sixth step only


@functools.cache
def configuration(name: str) -> dict[str, Any]:
    """The YAML of a model with its interpolations resolved as the application resolves them."""
    root = OmegaConf.create(
        {
            "n_trials": 1,
            "trainer": {"accelerator": "cpu", "threads": 1, "together": "auto"},
            "model": OmegaConf.load(FOLDER / f"{name}.yaml"),
        }
    )
    resolved = OmegaConf.to_container(root, resolve=True)
    assert isinstance(resolved, dict)
    return dict(resolved["model"])


def model_class(name: str) -> type[Model]:
    module, _, cls = configuration(name)["build"]["_target_"].rpartition(".")
    return getattr(importlib.import_module(module), cls)  # type: ignore[no-any-return]


def build(name: str, kind: Kind, **settings: Any) -> Model:
    """The model with its YAML's defaults and ``settings`` on top."""
    config = configuration(name)
    build = {k: v for k, v in config["build"].items() if k != "_target_"}
    if "pretrained" in build:  # no test asks the hub
        build["pretrained"] = str(tiny_bert())
    return model_class(name)(  # type: ignore[call-arg]
        target=TARGETS[kind], featurizer=ToyFeaturizer(config["view"]), **build | settings
    )


def small(name: str, kind: Kind, **settings: Any) -> Model:
    """As ``build``, quick to fit."""
    known = configuration(name)["build"]
    gentle = {k: v for k, v in SMALL.items() if k in known} | GENTLE.get(name, {})
    return build(name, kind, **gentle | settings)
