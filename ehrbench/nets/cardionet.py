"""CardioNet: convolutions of several widths and a recurrent branch, each beat judged by the window around it.

The network of CardioSpike's winners, who cut a window of 17 beats around every beat and pooled it whole. Here
a recording goes through once: pooling and attention slide over it, so that a beat still sees its window's
maximum, mean and attended sum, at a fifth of the work, while the recurrent branch reads the recording from
end to end instead of 17 beats. Norms are of each beat's channels, not of a batch, so that neither padding nor
company changes an output.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ehrbench.nets.inputs import SignalInput
from ehrbench.nets.network import Network
from ehrbench.nets.recurrence import Recurrence

#: Widths of the branches' kernels.
KERNELS = (3, 5, 7, 9)
#: Attention's logits lie within ± this, so that sums of their exponentials neither vanish nor overflow.
_SHARPEST = 8.0


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


class CardioNetwork(Network):
    """Scores (B, L, C) of a ``Signal``'s steps. window: beats that are pooled around each, odd."""

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
        width = 2 * rnn_units
        self.recurrent = Recurrence(
            inputs.width, width, n_layers=1, bidirectional=True, dropout=0.0, kind=nn.GRU
        )
        self.attention = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))
        n_pooled = 2 * len(KERNELS) * channels + 2 * width
        self.classifier = nn.Sequential(
            nn.LayerNorm(n_pooled),
            nn.Linear(n_pooled, top_classifier_units),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(top_classifier_units, top_classifier_units),
            nn.ReLU(),
        )
        self.out = nn.Linear(top_classifier_units, n_scores)

    def prepare(self, **arrays: Tensor) -> tuple[Tensor, ...]:
        prepared: tuple[Tensor, ...] = self.inputs(**arrays)
        return prepared

    def score(self, *prepared: Tensor) -> Tensor:
        steps, _, valid = prepared
        h = self.recurrent(steps, valid) * valid[..., None]  # (B, L, 2 units)
        weight = (_SHARPEST * torch.tanh(self.attention(h) / _SHARPEST)).exp() * valid[..., None]
        parts = [self._mean(weight * h) / self._mean(weight).clamp(min=1e-6), self._most(h)]
        n_beats = self._mean(valid[..., None]).clamp(min=1e-6)  # share of the window that is recording
        for branch in self.branches:
            found = branch(steps, valid)
            parts += [self._most(found), self._mean(found) / n_beats]
        scores: Tensor = self.out(self.classifier(torch.cat(parts, dim=2)))
        return scores

    def _mean(self, x: Tensor) -> Tensor:
        """x (B, L, D) averaged over the window around each step, beyond the ends 0."""
        return F.avg_pool1d(
            x.transpose(1, 2), self.window, stride=1, padding=self.window // 2
        ).transpose(1, 2)

    def _most(self, x: Tensor) -> Tensor:
        """x (B, L, D), 0 in the padding: the largest of the window around each step, at least 0."""
        most = F.max_pool1d(x.transpose(1, 2), self.window, stride=1, padding=self.window // 2)
        return F.relu(most.transpose(1, 2))
