"""State-space encoder: a stack of diagonal state-space layers (S4D, S5) behind a linear map.

Layer and symbols after Smith et al. 2023 (S5): one multi-input multi-output system a layer, Λ (P,), B (P, H),
C (H, P), D (H,), with a learned time step a state. Gu et al. 2022 (S4D) for the initialisation S4D-Lin and
for Re Λ = -exp(·), which keeps every system stable. What this is not: selective (Mamba), or a convolution by
FFT.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from ehrbench.nets.diagonal import INITIALISATIONS, discretise, hippo_n, s4d_lin
from ehrbench.nets.scan import convolve, convolve_any, scan


def _pair(z: np.ndarray) -> Tensor:
    """Complex array (...) -> (..., 2) of real and imaginary parts."""
    return torch.from_numpy(np.stack([z.real, z.imag], axis=-1)).to(torch.get_default_dtype())


class DiagonalSSM(nn.Module):
    """u (B, L, H) -> y (B, L, H) through P conjugate pairs of states.

    Parameters (stored as real pairs, last axis 2): Lambda (P,), B (P, H), C (H, P), or (H, 2P) when
    bidirectional, D (H,), log_step (P,).
    dt_min, dt_max: the learned steps start log-uniform between them (S4D section 4.1), in units of one grid
        step, or of one hour where Δ is given.
    any_length: sequences are of any number of steps, also those given to an exported network.
    """

    def __init__(
        self,
        width: int,
        n_pairs: int,
        *,
        initialisation: str = "s4d-lin",
        discretisation: str = "zoh",
        dt_min: float = 0.01,
        dt_max: float = 0.5,
        bidirectional: bool = False,
        any_length: bool = False,
    ) -> None:
        super().__init__()
        if initialisation not in INITIALISATIONS:
            raise ValueError(f"initialisation {initialisation!r} is none of {', '.join(INITIALISATIONS)}")
        self.discretisation, self.bidirectional = discretisation, bidirectional
        self.convolve = convolve_any if any_length else convolve
        if initialisation == "hippo-n":
            lam, v = hippo_n(n_pairs)
            b = v.conj().T @ (torch.randn(2 * n_pairs, width).double().numpy() / math.sqrt(width))
        else:
            lam = s4d_lin(n_pairs)
            b = torch.view_as_complex(torch.randn(n_pairs, width, 2).double()).numpy() / math.sqrt(width)
        n_out = n_pairs * (1 + bidirectional)
        self.log_decay = nn.Parameter(_pair(np.log(-lam.real))[:, 0])  # (P,), Re Λ = -exp(log_decay)
        self.frequency = nn.Parameter(_pair(lam.imag)[:, 0])  # (P,), Im Λ
        self.B = nn.Parameter(_pair(b))  # (P, H, 2)
        self.C = nn.Parameter(torch.randn(width, n_out, 2) * math.sqrt(0.5 / n_pairs))  # (H, P or 2P, 2)
        self.D = nn.Parameter(torch.randn(width))
        start, end = math.log(dt_min), math.log(dt_max)
        self.log_step = nn.Parameter(start + (end - start) * torch.rand(n_pairs))

    def forward(self, u: Tensor, dt_hours: Tensor | None = None) -> Tensor:
        """dt_hours (B, L): hours before each step, 0 for padding; None where all steps are alike."""
        y = self._on_grid(u) if dt_hours is None else self._at_times(u, dt_hours)
        return self.D * u + y  # in this order the sum lies in memory as u does

    def _c(self) -> Tensor:
        """(H, 2P'), so that 2 Re(C x) = _c @ [Re x, Im x]; P' = 2P when bidirectional."""
        return 2 * torch.cat([self.C[..., 0], -self.C[..., 1]], dim=1)

    def _on_grid(self, u: Tensor) -> Tensor:
        """Kernel path, states first, (2P, H) (H, B L) and back: no product needs a copy of its input."""
        batch, length, width = u.shape
        if self.convolve is convolve:  # a constant in an exported network, where it may be one
            length = int(length)
        system = discretise(-self.log_decay.exp(), self.frequency, self.log_step.exp(), self.discretisation)
        b_re, b_im = self.B.unbind(2)
        g_re, g_im = system.gain_re[:, None], system.gain_im[:, None]
        b_bar = torch.cat([g_re * b_re - g_im * b_im, g_re * b_im + g_im * b_re])  # B̄ (2P, H)
        v = (b_bar @ u.reshape(-1, width).T).view(2, -1, batch, length).transpose(2, 3)  # (2, P, L, B)
        v_re, v_im = v.unbind(0)
        ahead_re, ahead_im = self.convolve(system, v_re, v_im)  # (P, L, B)
        if self.bidirectional:
            back_re, back_im = self.convolve(system, v_re.flip(1), v_im.flip(1))
            x = torch.cat([ahead_re, back_re.flip(1), ahead_im, back_im.flip(1)])
        else:
            x = torch.cat([ahead_re, ahead_im])  # (2P', L, B)
        return (self._c() @ x.flatten(1)).view(width, length, batch).permute(2, 1, 0)

    def _at_times(self, u: Tensor, dt_hours: Tensor) -> Tensor:
        """Scan path: its own Λ̄ at every step of every row."""
        x = [self._states(u, dt_hours)]
        if self.bidirectional:
            x.append(tuple(part.flip(1) for part in self._states(u.flip(1), _backward(dt_hours))))
        return torch.cat([part[i] for i in (0, 1) for part in x], dim=2) @ self._c().T

    def _states(self, u: Tensor, dt_hours: Tensor) -> tuple[Tensor, ...]:
        """Real and imaginary part of the states, each (B, L, P)."""
        step = self.log_step.exp() * dt_hours[..., None]  # (B, L, P)
        system = discretise(-self.log_decay.exp(), self.frequency, step, self.discretisation)
        bu_re, bu_im = (u @ part.T for part in self.B.unbind(2))  # (B, L, P)
        v_re = system.gain_re * bu_re - system.gain_im * bu_im
        v_im = system.gain_re * bu_im + system.gain_im * bu_re
        return scan(*system.lambda_bar(), v_re, v_im)


def _backward(dt_hours: Tensor) -> Tensor:
    """Δ of the sequence read backwards: the interval after each step, its own where none follows."""
    after = torch.cat([dt_hours[:, 1:], dt_hours[:, -1:]], dim=1)
    return torch.where(after > 0, after, dt_hours).flip(1)


class SSMBlock(nn.Module):
    """Norm, state-space layer, GELU, gated linear unit, dropout, residual (S5 appendix G.1)."""

    def __init__(self, width: int, n_pairs: int, dropout: float, **ssm: object) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.ssm = DiagonalSSM(width, n_pairs, **ssm)  # type: ignore[arg-type]
        self.gate = nn.Sequential(nn.GELU(), nn.Linear(width, 2 * width), nn.GLU())
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, dt_hours: Tensor | None, valid: Tensor) -> Tensor:
        u = self.norm(h)
        if self.ssm.bidirectional:  # read backwards, padding comes first: it must feed nothing
            u = u * valid[..., None]
        out: Tensor = h + self.dropout(self.gate(self.ssm(u, dt_hours)))
        return out


class SSMEncoder(nn.Module):
    """(B, L, n_inputs) -> (B, L, width). ``irregular``: take Δ from the times, not a grid step."""

    def __init__(
        self,
        n_inputs: int,
        width: int,
        *,
        n_layers: int,
        n_pairs: int,
        dropout: float,
        irregular: bool = False,
        **ssm: object,
    ) -> None:
        super().__init__()
        self.irregular = irregular
        self.encoder = nn.Sequential(nn.Linear(n_inputs, width), nn.Dropout(dropout))
        self.blocks = nn.ModuleList(SSMBlock(width, n_pairs, dropout, **ssm) for _ in range(n_layers))

    def forward(self, steps: Tensor, dt_hours: Tensor, valid: Tensor) -> Tensor:
        h: Tensor = self.encoder(steps)
        for block in self.blocks:
            h = block(h, dt_hours if self.irregular else None, valid)
        return h
