"""Linear recurrences  x_k = Λ̄_k x_{k-1} + v_k  over L steps, without a loop over time, in real arithmetic.

``convolve``: Λ̄ the same at every step. Within a chunk of at most ``CHUNK`` steps the recurrence is a product
with one lower-triangular Toeplitz matrix of powers of Λ̄ a state, batched over the states: for L of some tens
this is dense, cache-friendly work, where an FFT or a log-depth scan moves mostly memory. Chunks pass on one
state.
``convolve_any``: the same for any number of steps, which a traced graph leaves open: chunks, and chunks of
chunks, so that nothing is a loop.
``scan``: Λ̄ varies with step and row (irregular Δ): the associative scan of S5 (Smith et al. 2023, section
2.2 and appendix H; Blelloch 1990) by doubling, log2(L) steps.
Both take and give pairs of real tensors and hold x_0 = 0 before the first step.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ehrbench.nets.diagonal import Discrete
from ehrbench.nets.inputs import shift

#: Steps of one Toeplitz product; longer sequences go chunk by chunk.
CHUNK = 64
#: Of ``convolve_any``: short recordings and pieces are padded to whole chunks, and far chunks are cheap. With
#: chunks of chunks, a unit of the last, dense product is ANY_CHUNK^LEVELS steps.
ANY_CHUNK = 16
LEVELS = 2


def _powers(system: Discrete, exponent: Tensor) -> tuple[Tensor, Tensor]:
    """Λ̄^n for the exponents n (N,), real and imaginary part, (P, N)."""
    modulus = (system.log_modulus[:, None] * exponent).exp()
    angle = system.angle[:, None] * exponent
    return modulus * angle.cos(), modulus * angle.sin()


def _toeplitz(powers: Tensor) -> Tensor:
    """Λ̄^0 … Λ̄^(n-1) (P, n) -> lower-triangular (P, n, n) with Λ̄^(t-s) in row t, column s.

    The powers and n zeros, repeated, fall one place further to the right in each row of 2n - 1.
    """
    n = int(powers.shape[1])
    padded = torch.cat([powers, torch.zeros_like(powers)], dim=1)  # (P, 2n)
    rows = padded.repeat(1, n)[:, : n * (2 * n - 1)].reshape(-1, n, 2 * n - 1)
    return rows[:, :, :n].transpose(1, 2)


def convolve(system: Discrete, v_re: Tensor, v_im: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs v (P, L, B), of any strides, -> states x (P, L, B). ``system`` has Λ̄ (P,)."""
    length = int(v_re.shape[1])  # as a constant, so that an exported network keeps Λ̄'s powers ready
    chunk = min(length, CHUNK)
    steps = torch.arange(chunk + 1, dtype=system.angle.dtype, device=v_re.device)
    p_re, p_im = _powers(system, steps)  # (P, chunk + 1)
    t_re, t_im = _toeplitz(p_re[:, :-1]), _toeplitz(p_im[:, :-1])  # (P, chunk, chunk)
    carry_re, carry_im = p_re[:, 1:, None], p_im[:, 1:, None]  # (P, chunk, 1): Λ̄^1 … Λ̄^chunk
    x_re: list[Tensor] = []
    x_im: list[Tensor] = []
    for start in range(0, length, chunk):
        n = min(chunk, length - start)
        a_re, a_im = t_re[:, :n, :n], t_im[:, :n, :n]
        b_re, b_im = v_re[:, start : start + n], v_im[:, start : start + n]
        re, im = _product(a_re, a_im, b_re, b_im)  # (P, n, B)
        if start:
            last_re, last_im = x_re[-1][:, -1:], x_im[-1][:, -1:]  # (P, 1, B)
            re = re + carry_re[:, :n] * last_re - carry_im[:, :n] * last_im
            im = im + carry_re[:, :n] * last_im + carry_im[:, :n] * last_re
        x_re.append(re)
        x_im.append(im)
    return torch.cat(x_re, dim=1), torch.cat(x_im, dim=1)


def convolve_any(system: Discrete, v_re: Tensor, v_im: Tensor, levels: int = LEVELS) -> tuple[Tensor, Tensor]:
    """As ``convolve``: inputs v (P, L, B) -> states x (P, L, B), L of any size and not known to the graph.

    The states at the ends of chunks follow a recurrence of their own, with Λ̄^ANY_CHUNK.
    """
    length = v_re.shape[1]
    if levels == 0:
        steps = torch.arange(length, dtype=system.angle.dtype, device=v_re.device)
        apart = steps[:, None] - steps  # (L, L)
        n, below = apart.clamp(min=0).flatten(), (apart >= 0).to(v_re)
        t_re, t_im = (p.view(-1, *apart.shape) * below for p in _powers(system, n))  # (P, L, L)
        return _product(t_re, t_im, v_re, v_im)
    steps = torch.arange(ANY_CHUNK + 1, dtype=system.angle.dtype, device=v_re.device)
    p_re, p_im = _powers(system, steps)  # (P, ANY_CHUNK + 1)
    t_re, t_im = _toeplitz(p_re[:, :-1]), _toeplitz(p_im[:, :-1])  # (P, ANY_CHUNK, ANY_CHUNK)
    n_pairs, _, batch = v_re.shape
    v_re, v_im = (F.pad(v, (0, 0, 0, -length % ANY_CHUNK)) for v in (v_re, v_im))
    chunked = [v.view(n_pairs, -1, ANY_CHUNK, batch).transpose(1, 2).flatten(2) for v in (v_re, v_im)]
    x_re, x_im = (
        x.view(n_pairs, ANY_CHUNK, -1, batch) for x in _product(t_re, t_im, *chunked)
    )  # (P, ANY_CHUNK, N, B)
    far = replace(system, log_modulus=system.log_modulus * ANY_CHUNK, angle=system.angle * ANY_CHUNK)
    ends = convolve_any(far, x_re[:, -1], x_im[:, -1], levels - 1)  # (P, N, B), each
    last_re, last_im = (shift(end, 1)[:, None] for end in ends)  # (P, 1, N, B)
    carry_re, carry_im = p_re[:, 1:, None, None], p_im[:, 1:, None, None]  # (P, ANY_CHUNK, 1, 1)
    x_re, x_im = (
        x_re + carry_re * last_re - carry_im * last_im,
        x_im + carry_re * last_im + carry_im * last_re,
    )
    re, im = (x.transpose(1, 2).flatten(1, 2)[:, :length] for x in (x_re, x_im))
    return re, im


def _product(t_re: Tensor, t_im: Tensor, v_re: Tensor, v_im: Tensor) -> tuple[Tensor, Tensor]:
    """(P, N, N) @ (P, N, B), complex."""
    re = torch.baddbmm(torch.bmm(t_re, v_re), t_im, v_im, alpha=-1)
    return re, torch.baddbmm(torch.bmm(t_re, v_im), t_im, v_re)


def scan(a_re: Tensor, a_im: Tensor, v_re: Tensor, v_im: Tensor) -> tuple[Tensor, Tensor]:
    """Λ̄_k = a_re + i a_im and inputs v (B, L, P) -> states x (B, L, P), real and imaginary part."""
    by, length = 1, a_re.shape[1]
    while by < length:  # (a, v) at k now stands for the steps k - 2 by + 1 … k
        v_before_re, v_before_im = shift(v_re, by), shift(v_im, by)
        v_re, v_im = (
            v_re + a_re * v_before_re - a_im * v_before_im,
            v_im + a_re * v_before_im + a_im * v_before_re,
        )
        if 2 * by < length:
            a_before_re, a_before_im = shift(a_re, by), shift(a_im, by)
            a_re, a_im = a_re * a_before_re - a_im * a_before_im, a_re * a_before_im + a_im * a_before_re
        by *= 2
    return v_re, v_im
