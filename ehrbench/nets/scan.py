"""Linear recurrences  x_k = Λ̄_k x_{k-1} + v_k  over L steps, without a loop over time, in real arithmetic.

``convolve``: Λ̄ the same at every step. Within a chunk of at most ``CHUNK`` steps the recurrence is a product
with one lower-triangular Toeplitz matrix of powers of Λ̄ a state, batched over the states: for L of some tens
this is dense, cache-friendly work, where an FFT or a log-depth scan moves mostly memory. Chunks pass on one
state.
``scan``: Λ̄ varies with step and row (irregular Δ): the associative scan of S5 (Smith et al. 2023, section
2.2 and appendix H; Blelloch 1990) by doubling, log2(L) steps.
Both take and give pairs of real tensors and hold x_0 = 0 before the first step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ehrbench.nets.diagonal import Discrete
from ehrbench.nets.inputs import shift

#: Steps of one Toeplitz product; longer sequences go chunk by chunk.
CHUNK = 64


def _powers(system: Discrete, exponent: Tensor) -> tuple[Tensor, Tensor]:
    """Λ̄^n for the exponents (...,), real and imaginary part, (P, ...)."""
    shape = (-1,) + (1,) * exponent.dim()
    modulus = (system.log_modulus.view(shape) * exponent).exp()
    angle = system.angle.view(shape) * exponent
    return modulus * angle.cos(), modulus * angle.sin()


def convolve(system: Discrete, v: Tensor) -> Tensor:
    """v (P, L, 2, B), inputs in pairs (re, im) -> states x (P, L, 2, B). ``system`` has Λ̄ (P,)."""
    n_states, length, _, batch = v.shape
    chunk = min(length, CHUNK)
    n_chunks = -(-length // chunk)
    if pad := n_chunks * chunk - length:
        v = torch.cat([v, v.new_zeros(n_states, pad, 2, batch)], dim=1)
    steps = torch.arange(chunk, dtype=v.dtype, device=v.device)
    lag = steps[:, None] - steps[None, :]  # (chunk, chunk)
    powers = torch.cat(_powers(system, lag.clamp(min=0)), dim=1)  # (P, 2 chunk, chunk)
    toeplitz = powers * (lag >= 0).to(v).repeat(2, 1)
    blocks = v.view(n_states, n_chunks, chunk, 2 * batch)
    carry_re, carry_im = _powers(system, steps + 1)  # (P, chunk): Λ̄^1 … Λ̄^chunk
    carry_re, carry_im = carry_re[..., None], carry_im[..., None]
    xs: list[Tensor] = []
    for j in range(n_chunks):
        both = torch.bmm(toeplitz, blocks[:, j]).view(n_states, 2, chunk, 2, batch)
        re = both[:, 0, :, 0] - both[:, 1, :, 1]  # (P, chunk, B)
        im = both[:, 0, :, 1] + both[:, 1, :, 0]
        if xs:
            before_re, before_im = xs[-1][:, -1:, 0], xs[-1][:, -1:, 1]  # (P, 1, B)
            re = re + carry_re * before_re - carry_im * before_im
            im = im + carry_re * before_im + carry_im * before_re
        xs.append(torch.stack([re, im], dim=2))
    x = xs[0] if n_chunks == 1 else torch.cat(xs, dim=1)
    return x[:, :length]


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
