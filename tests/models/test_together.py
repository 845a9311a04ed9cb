"""Fits trained together: each is what it would be alone, and none pays, waits or fails for another."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ehrbench.core.errors import FitError
from ehrbench.core.model import FitResult, PlannedFit
from ehrbench.core.records import Records
from ehrbench.core.target import Kind
from ehrbench.models.masks import HashedMasks
from ehrbench.models.network import NetworkModel
from ehrbench.models.together import Together
from tests.models.configured import small
from tests.models.test_auxiliary import with_auxiliary
from tests.models.test_contract import run_member
from tests.models.toy import records

#: Each network as its YAML has it, and its branches.
CASES: list[tuple[str, Kind, dict[str, Any]]] = [
    ("ssm", "binary", {}),
    ("lstm", "multilabel", {}),
    ("dssm", "multiclass", {}),
    ("mlp", "binary", {}),
    ("ssm", "multiclass", {"irregular": True, "bidirectional": True, "pooling": "attention"}),
    ("ssm", "multilabel", {"initialisation": "hippo-n", "discretisation": "bilinear", "pooling": "mean"}),
    ("lstm", "binary", {"bidirectional": True, "n_layers": 2, "ema_decay": 0.0}),
    ("dssm", "binary", {"bidirectional": True, "pooling": "attention", "class_weight_power": 0.5}),
    ("mlp", "multilabel", {"block": "plain", "embedding": "none", "n_seeds": 2, "schedule": "constant"}),
    ("ssm", "binary", {"use_mask": False, "use_statistics": False, "use_delta": False}),
]
SIZES = (70, 95, 33)


def model(name: str, kind: Kind, together: bool, **settings: Any) -> NetworkModel:
    settings = {"precision": "64", "max_epochs": 4, "patience": 1, "n_layers": 1, **settings}
    made = small(name, kind, together=together, **settings)
    assert isinstance(made, NetworkModel)
    return made


def folds(kind: Kind) -> list[tuple[Records, Records]]:
    """Of several sizes; what the second validates on contradicts what it learns, so that it stops first."""
    found = []
    for number, n in enumerate(SIZES):
        valid = with_auxiliary(kind, 40 + number, number + 10)
        y = valid.labels[::-1].copy() if number == 1 else valid.labels
        found.append((with_auxiliary(kind, n, number), replace(valid, target=y)))
    return found


def planned(models: list[NetworkModel], data: list[tuple[Records, Records]]) -> list[PlannedFit]:
    return [
        PlannedFit(m, train, valid, seed)
        for seed, (m, (train, valid)) in enumerate(zip(models, data, strict=True))
    ]


def alone_and_together(name: str, kind: Kind, **settings: Any) -> tuple[list[Any], list[Any]]:
    """(model, result) of each fold, trained alone, and as one."""
    found = []
    for together in (False, True):
        models = [model(name, kind, together, **settings) for _ in SIZES]
        results = dict(type(models[0]).fit_together(planned(models, folds(kind))))
        found.append([(models[at], results[at]) for at in range(len(models))])
    return found[0], found[1]


@pytest.mark.parametrize(("name", "kind", "settings"), CASES, ids=str)
def test_a_member_is_what_it_is_alone(name: str, kind: Kind, settings: dict[str, Any]) -> None:
    """In double precision every loss to 1e-9, dropout, batches and the stop among them, and every figure."""
    alone, together = alone_and_together(name, kind, **settings)
    for (a, result), (b, same), (_, valid) in zip(alone, together, folds(kind), strict=True):
        assert [step for step, _ in same.curve] == [step for step, _ in result.curve]
        assert same.best_step == result.best_step
        for (_, x), (_, y) in zip(result.curve, same.curve, strict=True):
            assert y == pytest.approx(x, abs=1e-9)
        np.testing.assert_allclose(b.predict(valid), a.predict(valid), atol=1e-5)


def test_a_member_that_has_ended_is_trained_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, step = [], Together._step

    def counted(self: Together) -> None:
        sizes.append(len(self.flat))
        step(self)

    monkeypatch.setattr(Together, "_step", counted)
    models = [model("ssm", "binary", True, max_epochs=6, learning_rate=0.05) for _ in SIZES]
    order, steps = [], 0
    for at, result in NetworkModel.fit_together(planned(models, folds("binary"))):
        assert isinstance(result, FitResult)
        order.append((len(result.curve), at))
    assert order == sorted(order)
    assert len({n for n, _ in order}) > 1
    needed = [-(-train.total_units // models[0].batch_size) for train, _ in folds("binary")]
    for epoch in range(order[-1][0]):  # as many steps as the largest fold that still trains
        steps += max(needed[at] for n, at in order if n > epoch)
    assert len(sizes) == steps
    assert sorted(sizes, reverse=True) == sizes
    assert {sizes[0], sizes[-1]} == {3, sum(n == order[-1][0] for n, _ in order)}


def test_a_loss_that_is_not_finite_fails_its_own_fit() -> None:
    settings = {"learning_rate": 1.0, "gradient_clip": 1e6, "ema_decay": 0.0, "precision": "32"}
    data = folds("binary")
    payload = data[1][0].payload
    blocks = tuple(block * np.float32(1e30) for block in payload.blocks)  # type: ignore[attr-defined]
    data[1] = (replace(data[1][0], payload=replace(payload, blocks=blocks)), data[1][1])  # type: ignore[type-var]
    models = [model("lstm", "binary", True, **settings) for _ in SIZES]
    results = dict(NetworkModel.fit_together(planned(models, data)))
    assert isinstance(results[1], FitError)
    assert "_loss is" in str(results[1])
    for at in (0, 2):
        assert isinstance(results[at], FitResult)
        assert np.isfinite(models[at].predict(data[at][1])).all()


def test_nothing_to_learn_fails_its_own_fit() -> None:
    data = folds("binary")
    data[0] = (replace(data[0][0], target=np.zeros_like(data[0][0].labels)), data[0][1])
    models = [model("mlp", "binary", True) for _ in SIZES]
    results = dict(NetworkModel.fit_together(planned(models, data)))
    assert "one class only" in str(results[0])
    assert [isinstance(results[at], FitResult) for at in (1, 2)] == [True, True]


def test_what_does_not_fit_is_halved_until_it_does(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried, step = [], Together._step

    def crowded(self: Together) -> None:
        tried.append(len(self.members))
        if len(self.members) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")
        step(self)

    monkeypatch.setattr(Together, "_step", crowded)
    with caplog.at_level(logging.WARNING):
        alone, together = alone_and_together("ssm", "binary")
    assert tried[:2] == [3, 1]
    assert tried.count(2) == 1
    assert [r.message.split(" (")[0] for r in caplog.records] == [
        "3 fits at once do not fit: half of them at a time"
    ]
    for (_, result), (_, same) in zip(alone, together, strict=True):
        assert same.best_step == result.best_step


@pytest.mark.parametrize(("name", "kind"), [("cnn", "binary"), ("rr_rhythm/lstm", "binary")])
def test_networks_that_cannot_be_stacked_are_trained_in_turn(name: str, kind: Kind) -> None:
    alone, together = alone_and_together(name, kind, precision="32", max_epochs=1)
    for (a, _), (b, _), (_, valid) in zip(alone, together, folds(kind), strict=True):
        np.testing.assert_array_equal(b.predict(valid), a.predict(valid))


def test_in_turn_means_when_it_is_asked_for() -> None:
    models = [model("mlp", "binary", False) for _ in SIZES]
    assert next(iter(NetworkModel.fit_together(planned(models, folds("binary")))))[0] == 0
    assert [m._net is not None for m in models] == [True, False, False]


def test_auto_is_one_after_another_on_a_cpu() -> None:
    assert small("lstm", "binary", together=True).trains_together
    assert not small("lstm", "binary").trains_together
    assert not small("cnn", "binary", together=True).trains_together
    assert not small("lightgbm", "binary").trains_together


@pytest.mark.parametrize("name", ["ssm", "cnn", "rr_rhythm/lstm"])
def test_several_seeds_are_one_network_of_averaged_scores(name: str, tmp_path: Path) -> None:
    train, valid, other = records("binary"), records("binary", 50, seed=1), records("binary", 17, seed=2)
    one, three = (small(name, "binary", max_epochs=2, n_seeds=n) for n in (1, 3))
    assert isinstance(three, NetworkModel)
    seen: list[tuple[int, int]] = []
    one.fit(train, valid, seed=1)
    result = three.fit(train, valid, seed=1, watch=lambda step, total, _: seen.append((step, total)))
    assert [step for step, _ in seen] == [step for step, _ in result.curve]
    assert all(1 <= step <= total == 6 for step, total in seen)
    first, second, third = three.fitted_network.nets
    for value, same in zip(one.fitted_network.parameters(), first.parameters(), strict=True):  # type: ignore[attr-defined]
        assert torch.equal(value, same)
    assert not torch.equal(next(second.parameters()), next(third.parameters()))
    p = three.predict(other)
    saved, exported = tmp_path / "saved", tmp_path / "exported"
    saved.mkdir()
    exported.mkdir()
    three.save(saved)
    again = small(name, "binary", max_epochs=2, n_seeds=3)
    again.restore(saved)
    np.testing.assert_array_equal(again.predict(other), p)
    member = three.export(exported)
    np.testing.assert_allclose(run_member(member, exported, other.without_labels(), "binary"), p, atol=1e-5)


def test_hashed_masks_are_a_members_own_and_drop_their_share() -> None:
    like = torch.zeros(1)

    def drawn(seeds: list[int], step: int) -> torch.Tensor:
        masks = HashedMasks(lambda n: [((n, 50), 0.3), ((n, 7), 0.5)], seeds, 400, like)
        masks.prepare([step] * len(seeds), [400] * len(seeds))
        first, second = masks.all()
        assert (first.shape, second.shape) == ((len(seeds), 400, 50), (len(seeds), 400, 7))
        return first

    three, one = drawn([5, 6, 7], 3), drawn([6], 3)
    assert torch.equal(three[1], one[0])
    assert set(three.unique().tolist()) == {0.0, float(torch.tensor(1 / 0.7))}
    assert three.mean((1, 2)).tolist() == pytest.approx([1, 1, 1], abs=0.02)
    kept = (three > 0).flatten(1).double()
    assert torch.corrcoef(torch.cat([kept, (drawn([6], 4) > 0).flatten(1)])).triu(1).abs().max() < 0.03
    rows = (drawn([6], 3)[0] > 0).double()
    assert rows.mean(0).std() < 0.05
    assert rows.mean(1).std() < 0.1
