"""CardioNet: convolutions of several widths and a recurrent branch, each beat judged by the window around it.

The network of CardioSpike's winners, who cut a window of 17 beats around every beat and sent each through by
itself. Here a recording goes through once: convolutions run along it, and their maximum and mean are taken
over the window around each beat, which are the same numbers for a fraction of the work; gated recurrent units
(Cho et al. 2014) read the window itself, in both directions, and attention and maximum sum them up. Norms are
of each beat's channels, not of a batch, so that neither padding nor company changes an output.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ehrbench.nets.inputs import SignalInput
from ehrbench.nets.network import Network

#: Widths of the branches' kernels.
KERNELS = (3, 5, 7, 9)


class DoubleConvolution(nn.Module):
    """x (B, L, D) -> (B, L, channels), not negative: twice convolution, norm and ReLU; 0 in the padding."""

    def __init__(self, n_inputs: int, channels: int, kernel: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv1d(n, channels, kernel, padding=kernel // 2) for n in (n_inputs, channels)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.relu(norm(convolution(x.transpose(1, 2)).transpose(1, 2))) * valid[..., None]
        return x


class WindowRecurrence(nn.Module):
    """Gated recurrent units over the window around each step, in both directions.

    Their attended sum (additive attention, softmax over the window's valid steps), then their maximum.
    """

    def __init__(self, n_inputs: int, units: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.gru = nn.GRU(n_inputs, units, batch_first=True, bidirectional=True)
        self.attention = nn.Sequential(nn.Linear(2 * units, 2 * units), nn.Tanh(), nn.Linear(2 * units, 1))

    def forward(self, x: Tensor, valid: Tensor, rows: Tensor) -> Tensor:
        """x (B, L, D), valid (B, L), rows (T,) steps among all B L -> (T, 4 units)."""
        inside = self._windows(valid[..., None], rows)  # (T, W, 1)
        h, _ = self.gru(self._windows(x, rows))  # (T, W, 2 units); beyond a recording's ends it reads zeros
        weight = (self.attention(h) - 1e4 * (1 - inside)).softmax(dim=1)
        most = (h - 2 * (1 - inside)).amax(1)  # units lie between -1 and 1
        return torch.cat([(weight * h).sum(1), most], dim=1)

    def _windows(self, x: Tensor, rows: Tensor) -> Tensor:
        """x (B, L, D) -> (T, W, D), 0 beyond the ends."""
        half, length = self.window // 2, x.shape[1]
        first = rows + torch.div(rows, length, rounding_mode="floor") * (2 * half)
        padded = F.pad(x, (0, 0, half, half)).flatten(0, 1)
        return padded[first[:, None] + torch.arange(self.window, device=x.device)]


class CardioNetwork(Network):
    """Scores (B, L, C) of a ``Signal``'s steps. window: steps that are looked at around each, odd."""

    def __init__(
        self,
        inputs: SignalInput,
        n_scores: int,
        *,
        channels: int,
        rnn_units: int,
        top_classifier_units: int,
        window: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.inputs, self.window = inputs, window
        self.branches = nn.ModuleList(DoubleConvolution(inputs.width, channels, k) for k in KERNELS)
        self.recurrent = WindowRecurrence(inputs.width, rnn_units, window)
        n_pooled = 2 * len(KERNELS) * channels + 4 * rnn_units
        self.classifier = nn.Sequential(
            nn.LayerNorm(n_pooled),
            nn.Linear(n_pooled, top_classifier_units),
            nn.LayerNorm(top_classifier_units),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(top_classifier_units, top_classifier_units),
            nn.LayerNorm(top_classifier_units),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.out = nn.Linear(top_classifier_units, n_scores)

    def prepare(self, **arrays: Tensor) -> tuple[Tensor, ...]:
        prepared: tuple[Tensor, ...] = self.inputs(**arrays)
        return prepared

    def score(self, *prepared: Tensor) -> Tensor:
        steps, _, valid = prepared
        rows = valid.flatten().nonzero().squeeze(1)  # (T,) padding, often most of a batch, is left out
        inside = self._mean(valid[..., None]).clamp(min=1e-6)  # share of the window that is recording
        parts = [self.recurrent(steps, valid, rows)]
        for branch in self.branches:
            found = branch(steps, valid)
            parts += [part.flatten(0, 1)[rows] for part in (self._most(found), self._mean(found) / inside)]
        scores: Tensor = self.out(self.classifier(torch.cat(parts, dim=1)))  # (T, C)
        nothing = scores.new_zeros(valid.shape[0] * valid.shape[1], scores.shape[1])
        return nothing.index_copy(0, rows, scores).view(*valid.shape, -1)

    def _mean(self, x: Tensor) -> Tensor:
        """x (B, L, D) averaged over the window around each step, 0 beyond the ends."""
        pooled = F.avg_pool1d(x.transpose(1, 2), self.window, stride=1, padding=self.window // 2)
        return pooled.transpose(1, 2)

    def _most(self, x: Tensor) -> Tensor:
        """x (B, L, D), not negative and 0 in the padding: the largest of the window around each step."""
        pooled = F.max_pool1d(x.transpose(1, 2), self.window, stride=1, padding=self.window // 2)
        return pooled.transpose(1, 2)
