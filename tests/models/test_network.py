"""What the networks' training promises beyond the contract: stopping, NaN, weights, devices."""

from __future__ import annotations

import math
import signal
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ehrbench.core.errors import ConfigError, FitError
from ehrbench.models.labels import class_weights
from ehrbench.models.loss import TargetLoss
from ehrbench.models.network import NetworkModel
from ehrbench.models.schedule import TrainingSettings
from tests.models.configured import NAMES, configuration, model_class, small
from tests.models.toy import TARGETS, records

NETWORKS = [name for name in NAMES if issubclass(model_class(name), NetworkModel)]
every_network = pytest.mark.parametrize("name", NETWORKS)


#: Those that are fed a payload's numbers as they are: bytes and tokens have bounds.
UNBOUNDED = [name for name in NETWORKS if configuration(name)["view"] in ("sequence", "scaled_table")]


@pytest.mark.parametrize("name", UNBOUNDED)
def test_nan_loss_names_the_epoch(name: str) -> None:
    model = small(name, "binary", learning_rate=1.0, gradient_clip=1e6, ema_decay=0.0)
    train = records("binary")
    blocks = tuple(block * np.float32(1e30) for block in train.payload.blocks)  # type: ignore[attr-defined]
    broken = replace(train, payload=replace(train.payload, blocks=blocks))  # type: ignore[type-var]
    with pytest.raises(FitError, match=r"_loss is (nan|inf) in epoch [12] of 3 — lower learning_rate"):
        model.fit(broken, None, seed=1)


def test_best_epoch_is_restored_and_patience_stops() -> None:
    """Validation labels that contradict training make the first epochs the best ones."""
    valid = records("binary", 60, seed=1)
    against = replace(valid, target=1 - valid.labels)
    model = small("lstm", "binary", max_epochs=30, patience=2, learning_rate=0.01)
    result = model.fit(records("binary"), against, seed=1)
    losses = [values["valid_loss"] for _, values in result.curve]
    assert result.best_step == int(np.argmin(losses)) + 1
    assert len(losses) == result.best_step + 2
    p = model.predict(against)
    y = against.labels
    assert -np.mean(np.where(y == 1, np.log(p), np.log(1 - p))) == pytest.approx(min(losses), abs=1e-5)


def test_validation_shapes_nothing_but_the_stop() -> None:
    """Stopped at the same epoch, two fits with other validation records are equal to the bit."""
    test, curves, p = records("binary", 20, seed=5), [], []
    for seed in (1, 2):
        model = small("ssm", "binary", max_epochs=1)
        curves.append(model.fit(records("binary"), records("binary", 40, seed=seed), seed=1).curve[0][1])
        p.append(model.predict(test))
    assert curves[0]["valid_loss"] != curves[1]["valid_loss"]
    np.testing.assert_array_equal(p[0], p[1])


def test_full_length_of_refit_follows_the_same_schedule() -> None:
    """``steps`` epochs without validation give the very state a stopped fit had there."""
    stopped = small("lstm", "binary", max_epochs=5, patience=1)
    valid = records("binary", 40, seed=1)
    result = stopped.fit(records("binary"), valid, seed=1)
    refit = small("lstm", "binary", max_epochs=5)
    assert refit.fit(records("binary"), None, seed=1, steps=result.best_step).best_step == result.best_step
    np.testing.assert_array_equal(refit.predict(valid), stopped.predict(valid))


def test_validation_without_labels_is_named() -> None:
    valid = records("binary", 20, seed=1)
    with pytest.raises(FitError, match="no validation label is known — "):
        small("lstm", "binary").fit(
            records("binary"), replace(valid, target=np.full_like(valid.labels, np.nan)), seed=1
        )


def test_interrupt_stays_an_interrupt() -> None:
    def watch(step: int, total: int, values: dict[str, float]) -> None:
        raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        small("lstm", "binary").fit(records("binary"), None, seed=1, watch=watch)
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.parametrize("kind", ["binary", "multilabel", "multiclass"])
def test_weighted_loss_keeps_the_prevalence(kind: Any) -> None:
    """The constant scores that minimise the weighted loss are the plain log odds: nothing to correct."""
    y = records(kind, 300).labels
    weights = torch.from_numpy(class_weights(y, TARGETS[kind], 1.0)).double()
    assert weights.max() > 1.1
    loss, labels = TargetLoss(kind, weights).double(), torch.from_numpy(y)
    prevalence = np.nanmean(y, axis=0)
    scores = torch.from_numpy(TARGETS[kind].scores(prevalence[None])).requires_grad_()
    expanded = scores.expand(len(y), -1)

    def double_loss(s: torch.Tensor) -> torch.Tensor:
        return loss(s, labels)  # type: ignore[no-any-return]

    gradient = torch.autograd.grad(double_loss(expanded), scores)[0]
    assert gradient.abs().max() < 1e-6


def test_loss_is_the_mean_log_loss_of_known_labels() -> None:
    scores = torch.tensor([[0.3, -1.0], [2.0, 0.5]])
    y = torch.tensor([[1.0, math.nan], [0.0, 1.0]])
    expected = -np.mean(np.log([1 / (1 + math.exp(-0.3)), 1 / (1 + math.exp(2.0)), 1 / (1 + math.exp(-0.5))]))
    assert TargetLoss("multilabel", torch.ones(2))(scores, y).item() == pytest.approx(expected, abs=1e-6)
    onehot = torch.tensor([[1.0, 0.0], [math.nan, math.nan]])
    other = -math.log(math.exp(0.3) / (math.exp(0.3) + math.exp(-1.0)))
    assert TargetLoss("multiclass", torch.ones(2))(scores, onehot).item() == pytest.approx(other, abs=1e-6)
    assert TargetLoss("binary", torch.ones(2))(scores, torch.full((2, 2), math.nan)).item() == 0.0


def test_learning_rate_warms_up_and_falls_to_a_hundredth() -> None:
    settings = TrainingSettings(warmup_epochs=2, max_epochs=10)
    rates = [settings.rate_at(step, 10) for step in range(100)]
    assert max(rates) == rates[20] == 1.0
    assert rates[:20] == sorted(rates[:20])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert settings.rate_at(100, 10) == pytest.approx(0.01)
    assert TrainingSettings(schedule="constant", warmup_epochs=0).rate_at(500, 10) == 1.0


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_missing_gpu_is_named() -> None:
    with pytest.raises(ConfigError, match=r"accelerator: gpu .* — use auto or cpu"):
        small("lstm", "binary", accelerator="gpu").fit(records("binary"), None, seed=1)


@pytest.mark.parametrize("name", ["ssm", "lstm", "dssm"])
def test_table_is_not_a_sequence(name: str) -> None:
    from tests.models.toy import ToyFeaturizer

    model = small(name, "binary")
    model.featurizer = ToyFeaturizer("table")  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"^view: .*sequence"):
        model.fit(records("binary"), None, seed=1)
