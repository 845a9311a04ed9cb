"""The slow way: complex recurrences step by step in NumPy, straight from the papers' equations."""

from __future__ import annotations

import numpy as np


def discretise(lam: np.ndarray, dt: np.ndarray, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Λ̄ and the factor of B u, complex: S5 eq. 6 (zoh), S4D eq. 3 (bilinear)."""
    if method == "zoh":
        lam_bar = np.exp(lam * dt)
        return lam_bar, (lam_bar - 1) / lam
    return (1 + lam * dt / 2) / (1 - lam * dt / 2), dt / (1 - lam * dt / 2)


def states(lam: np.ndarray, b: np.ndarray, u: np.ndarray, dt: np.ndarray, method: str) -> np.ndarray:
    """Λ (P,), B (P, H), u (B, L, H), Δ (B, L, P) -> x (B, L, P), all complex but u and Δ."""
    x = np.zeros((*u.shape[:2], len(lam)), dtype=complex)
    before = np.zeros((u.shape[0], len(lam)), dtype=complex)
    for k in range(u.shape[1]):
        lam_bar, gain = discretise(lam, dt[:, k], method)
        before = lam_bar * before + gain * (u[:, k] @ b.T)
        x[:, k] = before
    return x
