"""State-space layer: kernel path, scan path and a slow NumPy recurrence give the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ehrbench.nets.diagonal import DISCRETISATIONS, INITIALISATIONS, discretise, hippo_n, s4d_lin
from ehrbench.nets.inputs import SequenceInput
from ehrbench.nets.scan import CHUNK, convolve, convolve_any, scan
from ehrbench.nets.sequence import SequenceNetwork
from ehrbench.nets.ssm import DiagonalSSM, SSMEncoder
from tests.nets import recurrence


def _close(mine: np.ndarray | torch.Tensor, other: np.ndarray | torch.Tensor) -> None:
    """Equal to 1e-10, in double precision."""
    np.testing.assert_allclose(np.asarray(mine), np.asarray(other), rtol=0, atol=1e-10)


def _complex(pair: torch.Tensor) -> np.ndarray:
    a = pair.detach().numpy()
    return a[..., 0] + 1j * a[..., 1]


def _layer(width: int = 5, n_pairs: int = 4, **settings: object) -> DiagonalSSM:
    torch.manual_seed(0)
    return DiagonalSSM(width, n_pairs, **settings).double()  # type: ignore[arg-type]


def _reference(layer: DiagonalSSM, u: np.ndarray, dt: np.ndarray, backward_dt: np.ndarray) -> np.ndarray:
    """y (B, L, H) by recurrences from the layer's parameters."""
    lam = -np.exp(layer.log_decay.detach().numpy()) + 1j * layer.frequency.detach().numpy()
    step, b = np.exp(layer.log_step.detach().numpy()), _complex(layer.B)
    x = recurrence.states(lam, b, u, dt[..., None] * step, layer.discretisation)
    if layer.bidirectional:
        flipped = recurrence.states(
            lam, b, u[:, ::-1], backward_dt[:, ::-1, None] * step, layer.discretisation
        )
        x = np.concatenate([x, flipped[:, ::-1]], axis=-1)
    y: np.ndarray = 2 * (x @ _complex(layer.C).T).real + layer.D.detach().numpy() * u
    return y


@pytest.mark.parametrize("method", DISCRETISATIONS)
@pytest.mark.parametrize("initialisation", INITIALISATIONS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("length", [1, 2, 48, CHUNK, CHUNK + 1, 2 * CHUNK + 3])
def test_kernel_path_is_the_recurrence(
    method: str, initialisation: str, bidirectional: bool, length: int
) -> None:
    layer = _layer(initialisation=initialisation, discretisation=method, bidirectional=bidirectional)
    u = np.random.default_rng(length).normal(size=(3, length, 5))
    ones = np.ones((3, length))
    with torch.no_grad():
        y = layer(torch.from_numpy(u)).numpy()
        by_scan = layer(torch.from_numpy(u), torch.from_numpy(ones)).numpy()
    _close(y, _reference(layer, u, ones, ones))
    _close(by_scan, y)


@pytest.mark.parametrize("method", DISCRETISATIONS)
@pytest.mark.parametrize("bidirectional", [False, True])
@given(seed=st.integers(0, 10_000), length=st.integers(1, 70))
@settings(max_examples=25, deadline=None)
def test_scan_path_is_the_recurrence_for_any_times(
    method: str, bidirectional: bool, seed: int, length: int
) -> None:
    layer = _layer(discretisation=method, bidirectional=bidirectional)
    rng = np.random.default_rng(seed)
    u, dt = rng.normal(size=(2, length, 5)), rng.exponential(2.0, size=(2, length))
    backward = np.concatenate([dt[:, 1:], dt[:, -1:]], axis=1)
    with torch.no_grad():
        y = layer(torch.from_numpy(u), torch.from_numpy(dt)).numpy()
    _close(y, _reference(layer, u, dt, backward))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_changes_nothing(bidirectional: bool) -> None:
    layer = _layer(bidirectional=bidirectional)
    rng = np.random.default_rng(0)
    u, dt = torch.from_numpy(rng.normal(size=(2, 9, 5))), torch.from_numpy(rng.exponential(1, size=(2, 9)))
    padded = torch.cat([u, torch.full((2, 4, 5), 7.0, dtype=torch.float64)], dim=1)
    padded_dt = torch.cat([dt, torch.zeros(2, 4, dtype=torch.float64)], dim=1)
    with torch.no_grad():
        _close(layer(padded, padded_dt)[:, :9], layer(u, dt))


@pytest.mark.parametrize("length", [1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 1000, CHUNK * CHUNK + 3])
@pytest.mark.parametrize("levels", [1, 2])
def test_any_number_of_steps_is_the_same_recurrence(length: int, levels: int) -> None:
    re, im = torch.tensor([-0.3, -0.01]).double(), torch.tensor([1.1, 7.0]).double()
    system = discretise(re, im, torch.tensor([0.2, 0.3]).double())
    v_re, v_im = torch.randn(2, 2, length, 3, dtype=torch.float64, generator=torch.manual_seed(0))
    for one, other in zip(
        convolve(system, v_re, v_im), convolve_any(system, v_re, v_im, levels), strict=True
    ):
        torch.testing.assert_close(other, one)


@pytest.mark.parametrize("method", DISCRETISATIONS)
def test_gradients_of_both_paths(method: str) -> None:
    layer = _layer(width=2, n_pairs=2, discretisation=method, bidirectional=True)
    rng = np.random.default_rng(0)
    u = torch.from_numpy(rng.normal(size=(2, 5, 2))).requires_grad_()
    dt = torch.from_numpy(rng.exponential(1, size=(2, 5))).requires_grad_()
    names = [name for name, _ in layer.named_parameters()]

    def run(dt: torch.Tensor | None, u: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        parameters = dict(zip(names, values, strict=True))
        return torch.func.functional_call(layer, parameters, (u, dt))  # type: ignore[no-any-return]

    values = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    assert torch.autograd.gradcheck(lambda *a: run(None, *a), (u, *values))
    assert torch.autograd.gradcheck(run, (dt, u, *values))


def test_kernel_path_gradients_across_chunks() -> None:
    """A fixed system over two chunks: the carried state has gradients, too."""
    re, im = torch.tensor([-0.3], dtype=torch.float64), torch.tensor([1.1], dtype=torch.float64)
    system = discretise(re, im, torch.tensor(0.2, dtype=torch.float64))
    v = torch.randn(1, CHUNK + 2, 2, 1, dtype=torch.float64, requires_grad=True)
    a_re, a_im = (part.expand(1, CHUNK + 2, 1) for part in system.lambda_bar())
    weight = torch.randn(CHUNK + 2, dtype=torch.float64)
    x_re, _ = convolve(system, v[:, :, 0], v[:, :, 1])
    by_chunks = torch.autograd.grad((x_re[0, :, 0] * weight).sum(), v)[0]
    x_re, _ = scan(a_re, a_im, v[:, :, 0], v[:, :, 1])
    by_scan = torch.autograd.grad((x_re[0, :, 0] * weight).sum(), v)[0]
    _close(by_chunks, by_scan)


def test_small_steps_keep_their_digits() -> None:
    """The gain (exp(ΛΔ) - 1) / Λ tends to Δ; a plain difference would cancel in single precision."""
    dt = torch.tensor([1e-6])
    system = discretise(torch.tensor([-0.5]), torch.tensor([3.0]), dt)
    torch.testing.assert_close(system.gain_re, dt, rtol=1e-5, atol=0)


def test_hippo_n_are_eigenpairs_of_the_normal_matrix() -> None:
    """A^N v = Λ v for HiPPO-LegS plus its rank-one correction (S5 appendix B.1.1)."""
    lam, v = hippo_n(6)
    n = np.arange(12)
    legs = -np.where(
        n[:, None] > n, np.sqrt((2 * n[:, None] + 1) * (2 * n + 1)), np.where(n[:, None] == n, n + 1, 0)
    )
    p = np.sqrt(n + 0.5)
    normal = legs + np.outer(p, p)
    np.testing.assert_allclose(normal @ v, v * lam, atol=1e-10)
    np.testing.assert_allclose(lam.real, -0.5)
    assert (np.diff(lam.imag) > 0).all()
    assert lam.imag[0] > 0


def test_s4d_lin() -> None:
    np.testing.assert_allclose(s4d_lin(3), [-0.5, -0.5 + 1j * np.pi, -0.5 + 2j * np.pi])


def test_network_is_causal_without_pooling_over_time() -> None:
    """Unidirectional and pooled at the last step: an earlier change shows, so memory reaches back."""
    torch.manual_seed(0)
    inputs = SequenceInput(3, 0, use_statistics=False)
    encoder = SSMEncoder(inputs.width, 8, n_pairs=4, n_layers=2, dropout=0.2)
    net = SequenceNetwork(inputs, encoder, 8, 1, dropout=0.2).eval()
    arrays = {
        "values": torch.randn(1, 20, 3),
        "mask": torch.ones(1, 20, 3),
        "time_hours": torch.arange(20.0)[None],
        "static": torch.zeros(1, 0),
    }
    base = net(**arrays)
    changed = arrays | {"values": arrays["values"].clone()}
    changed["values"][0, 2] += 1
    assert (net(**changed) - base).abs().item() > 1e-6


@pytest.mark.parametrize("setting", ["initialisation", "discretisation"])
def test_unknown_choices_are_refused(setting: str) -> None:
    with pytest.raises(ValueError, match="none of"):
        DiagonalSSM(4, 2, **{setting: "other"})(torch.zeros(1, 3, 4))  # type: ignore[arg-type]
