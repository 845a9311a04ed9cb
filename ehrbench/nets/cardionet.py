"""CardioNet: convolutions of several widths and a recurrent branch, each beat judged by the window around it.

The network of CardioSpike's winners, who cut a window of 17 beats around every beat and sent each through by
itself. Here a recording goes through once: convolutions run along it, and their maximum and mean are taken
over the window around each beat, which are the same numbers for a fraction of the work. Three things differ.
Gated recurrent units (Cho et al. 2014) read the whole recording, in both directions, instead of each window
anew; attention and maximum sum them up within the window. What stands at the beat itself goes beside what is
pooled around it, which does not tell where in the window something is. Nothing is normalised over a batch, so
that neither padding nor company changes an output.
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


class DoubleConvolution(nn.Module):
    """x (B, D, L) -> (B, channels, L), not negative: twice convolution, ReLU, dropout; 0 in padding."""

    def __init__(self, n_inputs: int, channels: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv1d(n, channels, kernel, padding=kernel // 2) for n in (n_inputs, channels)
        )
        self.dropout = nn.Dropout1d(dropout)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """x (B, D, L), valid (B, L)."""
        for convolution in self.convolutions:
            x = self.dropout(F.relu(convolution(x))) * valid[:, None]
        return x


class AttendedRecurrence(nn.Module):
    """Gated recurrent units along a recording, both ways, and what the window around each beat holds.

    Additive attention is a softmax over the window: a mean of exp(a) h over one of exp(a), so two means that
    slide along the recording give it for every beat at once.
    """

    def __init__(self, n_inputs: int, units: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.gru = Recurrence(n_inputs, 2 * units, n_layers=1, bidirectional=True, dropout=0.0, cell=nn.GRU)
        self.attention = nn.Linear(2 * units, 1)

    def forward(self, x: Tensor, valid: Tensor) -> list[Tensor]:
        """x (B, L, D), valid (B, L) -> the beat's own units, their attended mean, their maximum, each
        (B, 2 units, L)."""
        h = self.gru(x, valid)  # (B, L, 2 units)
        weight = (10 * torch.tanh(self.attention(h) / 10)).exp().transpose(1, 2) * valid[:, None]  # (B, 1, L)
        h = h.transpose(1, 2)
        attended = mean_around(weight * h, self.window) / mean_around(weight, self.window).clamp(min=1e-9)
        most = most_around((1 + h) * valid[:, None], self.window) - 1  # units lie between -1 and 1
        return [h, attended, most]


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
        self.branches = nn.ModuleList(DoubleConvolution(inputs.width, channels, k, dropout) for k in KERNELS)
        self.recurrent = AttendedRecurrence(inputs.width, rnn_units, window)
        n_pooled = 3 * len(KERNELS) * channels + 6 * rnn_units
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
        inside = mean_around(valid[:, None], self.window).clamp(min=1e-6)  # (B, 1, L) share that is recording
        parts = self.recurrent(steps, valid)
        for branch in self.branches:
            found = branch(steps.transpose(1, 2), valid)
            parts += [found, most_around(found, self.window), mean_around(found, self.window) / inside]
        rows = valid.flatten().nonzero().squeeze(1)  # (T,) padding is left out
        pooled = torch.cat(parts, dim=1).transpose(1, 2).flatten(0, 1)[rows]
        scores: Tensor = self.out(self.classifier(pooled))  # (T, C)
        nothing = scores.new_zeros(valid.shape[0] * valid.shape[1], scores.shape[1])
        return nothing.index_copy(0, rows, scores).view(*valid.shape, -1)


def mean_around(x: Tensor, window: int) -> Tensor:
    """x (B, D, L) averaged over the window around each step, 0 beyond the ends."""
    return F.avg_pool1d(x, window, stride=1, padding=window // 2)


def most_around(x: Tensor, window: int) -> Tensor:
    """x (B, D, L), not negative and 0 in the padding: the largest of the window around each step."""
    return F.max_pool1d(x, window, stride=1, padding=window // 2)
