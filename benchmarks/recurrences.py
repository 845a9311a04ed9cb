"""Recurrences by length: the state-space layer and the LSTM layer, and reference formulas of the same layer.

``python -m benchmarks.recurrences [lengths]``. One layer of width 64 (32 conjugate pairs of states), batch
32, forward and backward, on the CPU (one thread) and on a GPU where there is one: milliseconds, the best
of several, and on a GPU the most memory held. References are written here, from the papers: the S4D kernel
by FFT (Gu et al. 2022, eq. 10), S5's associative scan in complex numbers (Smith et al. 2023, section 2.2),
and a plain loop over time; each is first held to the layer's own output. ``irregular`` is the layer at
times of its own, against the same times by the loop.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ehrbench.nets.diagonal import discretise
from ehrbench.nets.ssm import DiagonalSSM

WIDTH, PAIRS, BATCH = 64, 32, 32
#: A reference that would take longer a pass than this, by its length, is left out.
LOOP_MOST = 512


def _system(layer: DiagonalSSM, dt: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Complex Λ̄ and gain, (P,), or (B, L, P) where steps differ."""
    step = layer.log_step.exp() if dt is None else layer.log_step.exp() * dt[..., None]
    found = discretise(-layer.log_decay.exp(), layer.frequency, step, layer.discretisation)
    return torch.complex(*found.lambda_bar()), torch.complex(found.gain_re, found.gain_im)


def _read(layer: DiagonalSSM, x: Tensor, u: Tensor) -> Tensor:
    return 2 * (x @ torch.view_as_complex(layer.C).T).real + layer.D * u


def by_fft(layer: DiagonalSSM, u: Tensor) -> Tensor:
    bar, gain = _system(layer)
    length = u.shape[1]
    v = (u.to(bar.dtype) @ torch.view_as_complex(layer.B).T) * gain  # (B, L, P)
    kernel = bar ** torch.arange(length, device=u.device)[:, None]  # (L, P)
    x = torch.fft.ifft(torch.fft.fft(v, 2 * length, dim=1) * torch.fft.fft(kernel, 2 * length, dim=0), dim=1)
    return _read(layer, x[:, :length], u)


def by_scan(layer: DiagonalSSM, u: Tensor, dt: Tensor | None = None) -> Tensor:
    bar, gain = _system(layer, dt)
    x = (u.to(bar.dtype) @ torch.view_as_complex(layer.B).T) * gain
    a = bar.expand_as(x)
    by = 1
    while by < u.shape[1]:
        x = torch.cat([x[:, :by], x[:, by:] + a[:, by:] * x[:, :-by]], dim=1)
        a = torch.cat([a[:, :by], a[:, by:] * a[:, :-by]], dim=1)
        by *= 2
    return _read(layer, x, u)


def by_loop(layer: DiagonalSSM, u: Tensor, dt: Tensor | None = None) -> Tensor:
    bar, gain = _system(layer, dt)
    v = (u.to(bar.dtype) @ torch.view_as_complex(layer.B).T) * gain
    a = bar.expand_as(v)
    x, found = torch.zeros_like(v[:, 0]), []
    for step in range(u.shape[1]):
        x = a[:, step] * x + v[:, step]
        found.append(x)
    return _read(layer, torch.stack(found, 1), u)


def cost(work: Callable[[Tensor], Tensor], u: Tensor) -> tuple[float, float]:
    """Milliseconds of forward and backward pass, and MiB held on a GPU."""
    on_gpu = u.device.type == "cuda"
    clock = time.perf_counter if on_gpu else time.process_time  # one thread, whatever else runs
    best, spent = float("inf"), 0.0
    for _ in range(25):
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
            torch.cuda.synchronize()
        began = clock()
        work(u).square().mean().backward()  # type: ignore[no-untyped-call]
        if on_gpu:
            torch.cuda.synchronize()
        took = clock() - began
        best, spent = min(best, took), spent + took
        if spent > 2.0:
            break
    return best * 1e3, torch.cuda.max_memory_allocated() / 2**20 if on_gpu else float("nan")


def main() -> None:
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False
    lengths = [int(n) for n in sys.argv[1:]] or [48, 512, 4096]
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        print(f"{device}: ms forward and backward (MiB)")
        print(
            ("{:>7}" + "{:>16}" * 7).format(
                "L", "lstm", "ssm", "irregular", "fft", "scan", "loop", "irreg./regular"
            )
        )
        for length in lengths:
            torch.manual_seed(0)
            layer, lstm = (
                DiagonalSSM(WIDTH, PAIRS).to(device),
                nn.LSTM(WIDTH, WIDTH, batch_first=True).to(device),
            )
            u = torch.randn(BATCH, length, WIDTH, device=device, requires_grad=True)
            dt = torch.rand(BATCH, length, device=device) + 0.5
            ways: dict[str, Callable[[Tensor], Tensor]] = {
                "lstm": lambda x, f=lstm: f(x)[0],
                "ssm": layer,
                "irregular": lambda x, f=layer, dt=dt: f(x, dt),
                "fft": lambda x, f=layer: by_fft(f, x),
                "scan": lambda x, f=layer: by_scan(f, x),
                "loop": lambda x, f=layer: by_loop(f, x),
            }
            with torch.no_grad():
                for name in ("fft", "scan", *(["loop"] if length <= LOOP_MOST else [])):
                    torch.testing.assert_close(ways[name](u), layer(u), atol=2e-3, rtol=2e-3)
                torch.testing.assert_close(by_scan(layer, u, dt), layer(u, dt), atol=2e-3, rtol=2e-3)
            found = {n: cost(w, u) for n, w in ways.items() if n != "loop" or length <= LOOP_MOST}
            cells = [
                f"{found[n][0]:.1f} ({found[n][1]:.0f})"
                if n in found and device == "cuda"
                else f"{found[n][0]:.1f}"
                if n in found
                else "-"
                for n in ways
            ]
            ratio = found["irregular"][0] / found["ssm"][0]
            print(("{:>7}" + "{:>16}" * 7).format(length, *cells, f"{ratio:.2f}"), flush=True)


if __name__ == "__main__":
    main()
