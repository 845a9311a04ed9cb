"""What every model promises (``core.model``), for each YAML of ``conf/model`` and kind of target."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import get_args

import lightgbm
import numpy as np
import onnxruntime
import optuna
import pytest
import torch

from ehrbench.core.errors import ConfigError, FitError
from ehrbench.core.model import FitResult, Member, Model, load_arrays
from ehrbench.core.records import Records
from ehrbench.core.target import Kind
from ehrbench.core.types import FloatArray
from ehrbench.core.views import Bag
from ehrbench.models.sparse_rows import csr
from ehrbench.spine.space import read_space
from tests.models.configured import FOLDER, NAMES, VIEWS, build, configuration, model_class, small
from tests.models.toy import TARGETS, ToyFeaturizer, records

KINDS: tuple[Kind, ...] = get_args(Kind)
every_model = pytest.mark.parametrize("name", NAMES)
#: Logistic regression is convex, and neighbours are who they are: neither has a seed that matters, nor steps.
SEEDED = [name for name in NAMES if "logistic" not in name and name != "knn"]
every_seeded_model = pytest.mark.parametrize("name", SEEDED)
every_kind = pytest.mark.parametrize("kind", KINDS)


def fitted(name: str, kind: Kind, seed: int = 1) -> tuple[Model, FitResult]:
    model = small(name, kind)
    return model, model.fit(records(kind), records(kind, 50, seed=1), seed=seed)


#: One fit for all who ask and leave it as it is.
once = functools.cache(fitted)


def run_member(member: Member, directory: Path, unlabelled: Records, kind: Kind) -> FloatArray:
    """Probabilities of an exported model, by what a bundle has: onnxruntime, lightgbm and numpy."""
    featurizer = ToyFeaturizer(**member.settings)
    featurizer.restore(load_arrays(directory / "featurizer.npz"))
    view = featurizer.transform(unlabelled)
    arrays, gathering = view.arrays(), view.gathering()
    rows = csr(view) if isinstance(view, Bag) else arrays.get("values")
    if member.runner == "onnx":
        session = onnxruntime.InferenceSession(directory / "model.onnx")
        assert [i.name for i in session.get_inputs()] == list(arrays)
        assert [o.name for o in session.get_outputs()] == ["scores"]
        scores = np.asarray(session.run(None, arrays)[0])
        scores = scores if gathering is None else gathering(scores)
    elif member.runner in ("linear", "bag_linear"):
        assert isinstance(view, Bag) == (member.runner == "bag_linear")
        model = load_arrays(directory / "model.npz")
        scores = rows @ model["coefficient"] + model["intercept"]
    else:
        assert member.runner == "lightgbm"
        files = [directory / "model.txt"]
        if kind == "multilabel":
            files = [directory / f"model.{k}.txt" for k in range(TARGETS[kind].n_classes)]
        boosters = [lightgbm.Booster(model_file=file) for file in files]
        raw = [np.asarray(booster.predict(rows, raw_score=True)) for booster in boosters]
        scores = np.concatenate([r.reshape(len(r), -1) for r in raw], axis=1)
    return TARGETS[kind].probabilities(scores)


@every_model
@every_kind
def test_fits_predicts_saves_and_exports(name: str, kind: Kind, tmp_path: Path) -> None:
    (model, result), other = once(name, kind), records(kind, 17, seed=2)
    assert result.best_step >= 1
    assert [step for step, _ in result.curve] == sorted({step for step, _ in result.curve})

    p = model.predict(other.without_labels())
    assert p.shape == (other.total_units, TARGETS[kind].n_classes)
    assert p.dtype == np.float64
    assert np.isfinite(p).all()
    assert ((p >= 0) & (p <= 1)).all()
    if kind == "multiclass":
        np.testing.assert_allclose(p.sum(1), 1)
    np.testing.assert_array_equal(p, model.predict(other))  # labels change nothing

    saved, exported = tmp_path / "saved", tmp_path / "exported"
    saved.mkdir()
    exported.mkdir()
    model.save(saved)
    again = small(name, kind)
    again.restore(saved)
    np.testing.assert_array_equal(again.predict(other), p)

    member = model.export(exported)
    assert member.featurizer == "tests.models.toy.ToyFeaturizer"
    np.testing.assert_allclose(run_member(member, exported, other.without_labels(), kind), p, atol=1e-5)
    one = other.take(np.array([3]))  # the server's case
    np.testing.assert_allclose(
        run_member(member, exported, one.without_labels(), kind), p[other.units_of(np.array([3]))], atol=1e-5
    )
    np.testing.assert_array_equal(model.predict(other), p)  # exporting leaves the model as it was


@every_model
@every_kind
def test_learns(name: str, kind: Kind) -> None:
    """In a few epochs, better than the prevalence on records it has not seen."""
    quick = {"max_epochs": 8, "learning_rate": 0.02, "warmup_epochs": 0.5}
    model = small(name, kind, **quick if "max_epochs" in configuration(name)["build"] else {})
    train, test = records(kind, 150), records(kind, 100, seed=3)
    model.fit(train, records(kind, 40, seed=1), seed=1)
    y, known = test.labels, ~np.isnan(test.labels)
    p, base = np.clip(model.predict(test), 1e-7, 1), np.nanmean(train.labels, axis=0)

    def log_loss(q: FloatArray) -> float:
        if kind == "multiclass":
            return float(-(y * np.log(q)).sum(1).mean())
        return float(-np.mean(np.where(y == 1, np.log(q), np.log(1 - q))[known]))

    assert log_loss(p) < 0.85 * log_loss(np.broadcast_to(base, y.shape))


@every_model
def test_a_fit_repeats_itself_prints_nothing_and_leaves_the_global_state(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The same seed gives the same bits, whatever ran before."""
    test = records("binary", 17, seed=2)
    first = once(name, "binary")[0].predict(test)
    np.random.random(3)  # noqa: NPY002 - the global generators must not matter
    torch.rand(3)
    capfd.readouterr()
    generator, own, threads = np.random.get_state(), torch.get_rng_state(), torch.get_num_threads()  # noqa: NPY002
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second = fitted(name, "binary")[0].predict(test)
    assert capfd.readouterr() == ("", "")
    assert torch.equal(torch.get_rng_state(), own)
    np.testing.assert_array_equal(np.random.get_state()[1], generator[1])  # type: ignore[index]  # noqa: NPY002
    assert torch.get_num_threads() == threads
    np.testing.assert_array_equal(first, second)


@every_model
def test_a_fit_in_company_is_the_fit_alone(name: str) -> None:
    """What modules and classes know when they are new, and what they know here: the same bits."""
    assert in_company_as_alone(lambda: small(name, "binary"))


def in_company_as_alone(make: Callable[[], Model]) -> bool:
    """Whether a model of modules that have fitted nothing gives the bits of one whose have fitted others."""

    def said(train: Records, valid: Records) -> FloatArray:
        model = make()
        model.fit(train, valid, seed=1)
        return model.predict(records("binary", 17, seed=2))

    a, b = ((records("binary", seed=s), records("binary", 50, seed=s + 1)) for s in (0, 5))
    said(*b)
    company = said(*a)
    with new_modules():
        alone = said(*a)
    return bool(np.array_equal(company, alone))


@contextmanager
def new_modules() -> Iterator[None]:
    """Models, networks and features imported anew, and put back."""
    parts = ("ehrbench.models", "ehrbench.nets", "ehrbench.features", "tests.models.leaking")
    ours = {name: module for name, module in sys.modules.items() if name.startswith(parts)}
    for name in ours:
        del sys.modules[name]
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.startswith(parts)]:
            del sys.modules[name]
        sys.modules.update(ours)
        for name, module in ours.items():  # a package knows its modules by attributes, too
            package, _, last = name.rpartition(".")
            setattr(sys.modules[package], last, module)


@pytest.mark.parametrize("leak", ["WarmStart", "RunningStatistics", "SelectedOnce"])
def test_what_a_class_or_module_keeps_of_others_is_seen_by_that(leak: str) -> None:
    def make() -> Model:
        leaking = importlib.import_module("tests.models.leaking")
        model: Model = getattr(leaking, leak)(
            target=TARGETS["binary"], featurizer=ToyFeaturizer("scaled_table")
        )
        return model

    assert not in_company_as_alone(make)


@every_seeded_model
def test_other_seed_other_fit(name: str) -> None:
    test = records("binary", 17, seed=2)
    assert (once(name, "binary")[0].predict(test) != fitted(name, "binary", seed=2)[0].predict(test)).any()


@every_seeded_model
def test_fixed_steps_without_validation(name: str) -> None:
    model = small(name, "binary")
    assert model.fit(records("binary"), None, seed=1, steps=2).best_step == 2


@every_model
@every_kind
def test_one_class_is_refused(name: str, kind: Kind) -> None:
    train = records(kind)
    y = np.zeros_like(train.labels)
    if kind == "multiclass":
        y[:, 1] = 1
    with pytest.raises(FitError, match=r"one class only.*—"):
        small(name, kind).fit(replace(train, target=y), None, seed=1)


@every_model
def test_unknown_labels_are_not_learned_from(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records without a label change nothing but the featurizer, which never sees labels: shown to it alone,
    they leave the same fit."""
    train = records("binary")
    known = np.arange(len(train)) % 3 > 0
    y = np.where(known[train.unit_record][:, None], train.labels, np.nan)
    p = []
    for seen in (replace(train, target=y), train.take(np.flatnonzero(known))):
        model = small(name, "binary")
        fit = model.featurizer.fit  # type: ignore[attr-defined]
        monkeypatch.setattr(model.featurizer, "fit", lambda _, fit=fit: fit(train))  # type: ignore[attr-defined]
        model.fit(seen, None, seed=1)
        p.append(model.predict(records("binary", 17, seed=2)))
    np.testing.assert_array_equal(*p)


@every_model
def test_watch_may_stop_the_fit(name: str) -> None:
    class Stop(Exception):
        pass

    seen: list[tuple[int, int]] = []

    def watch(step: int, total: int, values: dict[str, float]) -> None:
        seen.append((step, total))
        raise Stop

    with pytest.raises(Stop):
        small(name, "binary").fit(records("binary"), records("binary", 50, seed=1), seed=1, watch=watch)
    assert len(seen) == 1
    assert 1 <= seen[0][0] <= seen[0][1]


@every_model
def test_configuration_is_complete(name: str) -> None:
    """Every setting stands in the YAML, with the class's own default or another; the view is a known one."""
    text = (FOLDER / f"{name}.yaml").read_text()
    config = configuration(name)
    assert text.startswith(f"# @package model.{name.rpartition('/')[2]}\n")
    assert set(config) - {"portfolio"} == {"view", "n_trials", "build", "space"}
    assert config["view"] in VIEWS
    accepted = inspect.signature(model_class(name)).parameters.values()
    settings = {p.name for p in accepted if p.kind is not p.VAR_KEYWORD} - {"target", "featurizer"}
    given = set(config["build"]) - {"_target_"}
    if len(settings) + 2 < len(accepted):  # it hands others on, to what refuses those that it does not know
        with pytest.raises(ConfigError, match=r"^no_such_setting: unknown setting of"):
            build(name, "binary", no_such_setting=1)
        build(name, "binary")
        given &= settings
    assert given == settings


@pytest.mark.parametrize("name", [name for name in NAMES if "portfolio" in configuration(name)])
def test_a_portfolio_lies_within_the_space_and_tries_nothing_twice(name: str) -> None:
    space = read_space(configuration(name)["space"], f"model.{name}.space")
    starts = [space.within(configuration(name)["build"])]
    for one in configuration(name)["portfolio"]:
        assert space.within(one) == one
        assert {p.name for p in space.parameters if p.applies(one)} == set(one)
        assert one not in starts
        starts.append(one)
    assert 1 < len(starts) < 8


@every_model
@every_kind
def test_whole_space_can_be_built(name: str, kind: Kind) -> None:
    """Parameters are settings; 50 random samples, both ends included, all make a model."""
    raw = configuration(name)["space"]
    space = read_space(raw, f"model.{name}.space")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    for _ in range(50):
        build(name, kind, **space.suggest(study.ask()))
    for end in ("low", "high"):
        build(name, kind, **{key: spec[end] for key, spec in raw.items() if end in spec})


@every_model
def test_the_first_trial_is_the_model_s_own(name: str) -> None:
    """Every default lies in the shipped space, so that no part of a study's first trial is drawn."""
    own, space = configuration(name)["build"], read_space(configuration(name)["space"], name)
    asked = {p.name for p in space.parameters if p.name in own and p.applies(own)}
    assert asked <= space.within(own).keys()


@every_model
def test_out_of_range_settings_name_their_key(name: str) -> None:
    for key, value in configuration(name)["build"].items():
        if key in ("_target_", "precision"):
            continue
        wrong = "no such choice" if isinstance(value, str | bool) else -7.5
        with pytest.raises(ConfigError, match=rf"^{key}: .*—"):
            build(name, "binary", **{key: wrong})
