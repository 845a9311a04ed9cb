"""Every network trained, kept, exported and explained on a GPU, its figures held against the CPU's.

``test_gpu.py`` runs this file in a process of its own: on the machine's GPU, or else on the pretend one.
"""

from __future__ import annotations

import functools
import gc
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ehrbench.core.errors import ConfigError
from ehrbench.core.model import PlannedFit
from ehrbench.core.target import Kind
from ehrbench.models import fitting, together
from ehrbench.models.network import NetworkModel
from ehrbench.models.together import Together
from ehrbench.nets.head import Head
from ehrbench.nets.ssm import SSMEncoder
from ehrbench.runtime.runners import open_runner
from tests.models.configured import NAMES, model_class, small
from tests.models.pretend_gpu import pretend_gpu
from tests.models.pretend_graph import PretendGraph
from tests.models.toy import records

REAL = torch.cuda.is_available()
NETWORKS = [name for name in NAMES if issubclass(model_class(name), NetworkModel)]
#: Without chance, so that both devices train on the same numbers.
CALM = {"dropout": 0.0, "input_dropout": 0.0, "augmentation": 0.0, "flip": 0.0, "max_epochs": 2}
#: Branches that the models' own settings leave out.
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("ssm", {"irregular": True, "bidirectional": True, "pooling": "attention"}),
    ("ssm", {"initialisation": "hippo-n", "discretisation": "bilinear", "pooling": "mean"}),
    ("ssm", {"bidirectional": True, "n_layers": 2, "ema_decay": 0.0}),
    ("lstm", {"bidirectional": True, "n_layers": 2, "pooling": "mean"}),
    ("dssm", {"bidirectional": True, "pooling": "attention", "class_weight_power": 0.5}),
    ("mlp", {"block": "residual", "embedding": "periodic"}),
    *((name, {"use_mask": False, "use_statistics": False, "use_delta": False}) for name in ("ssm", "lstm")),
]


@pytest.fixture(scope="module", autouse=True)
def imports_left_alone() -> Iterator[None]:
    """Python's collector would look through all that was ever imported, again and again."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if REAL:
        yield
    else:
        monkeypatch.setattr(together, "WARM_UP", 1)  # nothing warms up, and each step takes its time
        with pretend_gpu():
            yield


def calm(name: str, kind: Kind, accelerator: str, **settings: Any) -> NetworkModel:
    known = model_class(name).__dataclass_fields__
    settings = {k: v for k, v in CALM.items() if k in known} | settings
    model = small(name, kind, accelerator=accelerator, **settings)
    assert isinstance(model, NetworkModel)
    return model


def fitted(model: NetworkModel, kind: Kind) -> np.ndarray:
    """Probabilities of records that the fit validates on."""
    valid = records(kind, 30, seed=1)
    model.fit(records(kind, 40), valid, seed=1)
    return model.predict(valid)


@functools.cache
def once(name: str, kind: Kind, accelerator: str, **settings: Any) -> tuple[NetworkModel, np.ndarray]:
    """A calm model, fitted, and its probabilities: one fit for all who ask and leave it as it is."""
    model = calm(name, kind, accelerator, **settings)
    return model, fitted(model, kind)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("kind", ["multilabel", "multiclass"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_gpu_gives_what_the_cpu_gives(name: str, kind: Kind) -> None:
    model, p = once(name, kind, "gpu", precision="32")
    assert {x.device.type for x in model.fitted_network.parameters()} == {"cuda"}
    np.testing.assert_allclose(p, once(name, kind, "cpu")[1], atol=2e-3 if REAL else 1e-5)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(("name", "settings"), [*((name, {}) for name in NETWORKS), *VARIANTS], ids=str)
def test_so_does_every_branch(name: str, settings: dict[str, Any]) -> None:
    """Near the CPU's 32 bit at bf16, and not the same."""
    expected = once(name, "binary", "cpu", **settings)[1]
    exact = once(name, "binary", "gpu", precision="32", **settings)[1]
    np.testing.assert_allclose(exact, expected, atol=2e-3 if REAL else 1e-5)
    half = once(name, "binary", "gpu", precision="bf16", **settings)[1]
    assert 1e-6 < np.abs(half - expected).mean() < 0.02


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("name", NETWORKS)
def test_as_trained_for_real(name: str) -> None:
    """With dropout, whose kernels are others on a GPU; the same seed gives the same figures."""
    p = [fitted(small(name, "multilabel", accelerator="gpu", max_epochs=2), "multilabel") for _ in range(2)]
    np.testing.assert_array_equal(*p)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("name", ["ssm", "lstm", "dssm", "mlp"])
def test_members_are_what_they_are_alone(name: str) -> None:
    """With dropout; some of them end earlier, and the step is captured anew for those that go on."""
    data = [(records("binary", n, seed=n), records("binary", 30, seed=1)) for n in (40, 25)]
    several, alone = (
        [small(name, "binary", accelerator="gpu", max_epochs=3, patience=1) for _ in data] for _ in "ab"
    )
    fits = [
        PlannedFit(m, train, valid, seed)
        for seed, (m, (train, valid)) in enumerate(zip(several, data, strict=True))
    ]
    results = dict(type(several[0]).fit_together(fits))
    for at, (one, fit) in enumerate(zip(alone, fits, strict=True)):
        same = one.fit(fit.train, fit.valid, seed=fit.seed)
        assert [step for step, _ in results[at].curve] == [step for step, _ in same.curve]  # type: ignore[union-attr]
        np.testing.assert_allclose(
            several[at].predict(data[at][1]), one.predict(data[at][1]), atol=1e-3 if REAL else 1e-5
        )


@pytest.mark.skipif(REAL, reason="about the pretend GPU, whose graph refuses what a real one would")
@pytest.mark.usefixtures("gpu")
def test_a_step_that_cannot_be_captured_is_taken_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And one that can is replayed: its figures are the CPU's only if its inputs lie where it reads them."""
    replays = PretendGraph.replays
    expected = fitted(calm("ssm", "binary", "gpu"), "binary")
    assert PretendGraph.replays > replays
    assert not caplog.records
    replays, forward = PretendGraph.replays, SSMEncoder.forward

    def waits(self: SSMEncoder, *inputs: torch.Tensor) -> torch.Tensor:
        torch.ones((), device="cuda").item()  # the host waits for the device
        return forward(self, *inputs)

    monkeypatch.setattr(SSMEncoder, "forward", waits)
    np.testing.assert_allclose(fitted(calm("ssm", "binary", "gpu"), "binary"), expected, atol=1e-6)
    assert PretendGraph.replays == replays
    assert "a step cannot be a CUDA graph" in caplog.text


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("name", NETWORKS)
def test_what_a_gpu_keeps_a_cpu_reads(name: str, tmp_path: Path) -> None:
    model, p = once(name, "binary", "gpu")
    model.save(tmp_path)
    restored = calm(name, "binary", "cpu")
    restored.restore(tmp_path)
    asked = records("binary", 30, seed=1)
    np.testing.assert_allclose(restored.predict(asked), p, atol=1e-3 if REAL else 1e-5)
    view = model.featurizer.transform(asked)
    model.export(tmp_path)
    scores = open_runner("onnx", tmp_path, threads=1, device="cpu").scores(view)
    np.testing.assert_allclose(model.target.probabilities(scores), p, atol=1e-3 if REAL else 1e-5)
    np.testing.assert_array_equal(model.predict(asked), p)  # it is where it was


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_single_precision_is_single_and_left_as_it_was(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No TF32, cuDNN's own choice, in training and predicting. What that brings, a real GPU shows."""
    seen = set()
    forward = Head.forward

    def watched(self: Head, pooled: torch.Tensor, wide: torch.Tensor) -> torch.Tensor:
        seen.add((self.training, torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()))
        return forward(self, pooled, wide)

    monkeypatch.setattr(Head, "forward", watched)
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("medium")
    try:
        fitted(calm("lstm", "binary", "gpu", precision=precision), "binary")
        assert seen == {(True, False, "highest"), (False, False, "highest")}
        assert (torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()) == (True, "medium")
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])


@pytest.mark.skipif(REAL, reason="about the pretend GPU")
def test_a_gpu_without_bf16_is_named() -> None:
    with (
        pretend_gpu(bf16=False),
        pytest.raises(ConfigError, match=r"^precision: bf16 asked for, .* — use auto"),
    ):
        calm("lstm", "binary", "gpu", precision="bf16").fit(records("binary"), None, seed=1)


@pytest.mark.usefixtures("gpu")
def test_a_full_gpu_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity"
        )

    monkeypatch.setattr(Head, "forward", full)
    message = r"^the GPU's memory is full \(Tried to allocate 2.00 GiB\) — lower batch_size, .*$"
    with pytest.raises(MemoryError, match=message):
        small("lstm", "binary", accelerator="gpu").fit(records("binary"), None, seed=1)


@pytest.mark.usefixtures("gpu")
def test_each_fit_asks_for_repeatable_kernels_and_finds_the_last_one_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing that trains holds itself in a ring, which Python would collect when it likes."""
    made: list[weakref.ref[Together]] = []
    alive, asked = [], []

    class Watched(Together):
        def __init__(self, *arguments: Any) -> None:
            alive.append(sum(one() is not None for one in made))
            asked.append(
                (os.environ.get("CUBLAS_WORKSPACE_CONFIG"), torch.are_deterministic_algorithms_enabled())
            )
            super().__init__(*arguments)
            made.append(weakref.ref(self))

    monkeypatch.setattr(fitting, "Together", Watched)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    gc.disable()
    try:
        for _ in range(2):
            calm("lstm", "binary", "gpu").fit(records("binary"), None, seed=1)
    finally:
        gc.enable()
    assert alive == [0, 0]
    assert asked == [(":16:8", True)] * 2


def zeros_of_the_cpu(x: torch.Tensor) -> object:
    return x + torch.zeros(x.shape[-1])


def numbers_of_the_gpu(x: torch.Tensor) -> object:
    return x.detach().numpy()


def index_of_the_gpu(x: torch.Tensor) -> object:
    return torch.arange(x.shape[0])[torch.zeros_like(x[:, 0]).long()]


def weights_of_the_cpu(x: torch.Tensor) -> object:
    return torch.nn.functional.linear(x, torch.ones(2, x.shape[-1]))


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    "fault",
    [zeros_of_the_cpu, numbers_of_the_gpu, index_of_the_gpu, weights_of_the_cpu],
    ids=lambda f: f.__name__,
)
@pytest.mark.parametrize("name", ["ssm", "lstm", "dssm"])
def test_a_planted_fault_is_seen(name: str, fault: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = Head.forward

    def planted(self: Head, pooled: torch.Tensor, wide: torch.Tensor) -> torch.Tensor:
        fault(pooled)
        return forward(self, pooled, wide)

    monkeypatch.setattr(Head, "forward", planted)
    with pytest.raises((RuntimeError, TypeError), match=r"same device|convert cuda|indices should be|numpy"):
        small(name, "binary", accelerator="gpu").fit(records("binary"), None, seed=1)
