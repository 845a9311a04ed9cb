"""Diagonal state-space systems in real arithmetic: initialisation and discretisation.

A diagonal system  x'(t) = Λ x(t) + B u(t),  y(t) = 2 Re(C x(t)) + D u(t)  with complex Λ kept as pairs of
real numbers, because ONNX knows no complex ones. P counts conjugate pairs, of which one member is stored, so
P pairs are 2P real states.

Sources: Gu et al. 2022, "On the parameterization and initialization of diagonal state space models" (S4D);
Smith et al. 2023, "Simplified state space layers for sequence modeling" (S5).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

INITIALISATIONS = ("hippo-n", "s4d-lin")
DISCRETISATIONS = ("zoh", "bilinear")


def hippo_n(n_pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues of the normal part of HiPPO-LegS and its eigenvectors (S5 appendix B.1.1, S4D eq. 7).

    A^N = A + p p^T = -1/2 I + skew-symmetric, of size N = 2P, hence Λ = -1/2 + i w.
    Returns Λ (P,) complex with w > 0, ascending, and V (N, P), unit columns.
    """
    n = np.arange(2 * n_pairs)
    root = np.sqrt(2.0 * n + 1.0)
    a = -np.tril(np.outer(root, root), -1) - np.diag(n + 1.0)  # HiPPO-LegS, S4D eq. 5
    normal = a + np.outer(root, root) / 2.0
    skew = (normal - normal.T) / 2.0
    w, v = np.linalg.eigh(-1j * skew)
    return -0.5 + 1j * w[n_pairs:], v[:, n_pairs:]


def s4d_lin(n_pairs: int) -> np.ndarray:
    """Λ_n = -1/2 + i π n (S4D-Lin, S4D eq. 9), (P,) complex."""
    return -0.5 + 1j * np.pi * np.arange(n_pairs)


@dataclass(frozen=True)
class Discrete:
    """A discretised diagonal system:  x_k = Λ̄ x_{k-1} + gain · (B u_k).

    Λ̄ in polar form, so that powers are cheap: Λ̄^n = exp(n log_modulus) (cos n·angle + i sin n·angle).
    Each (P,) for one Δ, or (B, L, P) for a Δ at every step.
    """

    log_modulus: Tensor
    angle: Tensor
    gain_re: Tensor
    gain_im: Tensor

    def lambda_bar(self) -> tuple[Tensor, Tensor]:
        """Real and imaginary part of Λ̄."""
        modulus = self.log_modulus.exp()
        return modulus * self.angle.cos(), modulus * self.angle.sin()


def discretise(re: Tensor, im: Tensor, dt: Tensor, method: str = "zoh") -> Discrete:
    """Λ = re + i im (P,), re < 0, and Δ (broadcast against P) to a discrete system.

    zoh (S5 eq. 6):       Λ̄ = exp(ΛΔ),                  gain = (Λ̄ - 1) / Λ
    bilinear (S4D eq. 3): Λ̄ = (1 + ΛΔ/2) / (1 - ΛΔ/2),  gain = Δ / (1 - ΛΔ/2)
    With Δ = 0 the state stays as it is and the input counts nothing, so padding is exact.
    """
    if method == "zoh":
        a, b = re * dt, im * dt
        half = (a / 2).tanh()
        shrink = 2 * half / (1 - half)  # expm1(a), which ONNX lacks
        # exp(a + ib) - 1 without cancellation for small Δ
        top_re = shrink * b.cos() - 2 * (b / 2).sin().square()
        top_im = (shrink + 1) * b.sin()
        square = re.square() + im.square()
        return Discrete(a, b, (top_re * re + top_im * im) / square, (top_im * re - top_re * im) / square)
    if method == "bilinear":
        a, b = re * dt / 2, im * dt / 2
        below = (1 - a).square() + b.square()  # |1 - ΛΔ/2|²
        log_modulus = (((1 + a).square() + b.square()).log() - below.log()) / 2
        angle = torch.atan2(2 * b, 1 - a.square() - b.square())
        return Discrete(log_modulus, angle, dt * (1 - a) / below, dt * b / below)
    raise ValueError(f"discretisation {method!r} is none of {', '.join(DISCRETISATIONS)}")
