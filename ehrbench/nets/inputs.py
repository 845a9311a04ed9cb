"""What a sequence network is fed, derived from the values and masks of a ``Sequence`` view.

Missing values are the rule in intensive care: forward fill, missingness masks and the time since the last
measurement are what is known to help (Che et al. 2018, "Recurrent neural networks for multivariate time
series with missing values", eq. 2 and section "Missing patterns"). All of it is computed in log2(L) doubling
steps without a loop over time and with real arithmetic, so it exports to ONNX inside the network. Nothing is
learned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ehrbench.nets.recurrence import take_steps

#: A day: times since the last measurement enter as log(1 + hours) / log(1 + 24).
_LOG_DAY = math.log1p(24.0)

#: Number of ``statistics`` of each channel.
N_STATISTICS = 9


def shift(x: Tensor, by: int) -> Tensor:
    """x (B, L, ...) moved ``by`` steps later in time (earlier where negative), zeros moved in."""
    return F.pad(x, (0, 0) * (x.dim() - 2) + (by, -by))


def last_observations(parts: Sequence[Tensor], mask: Tensor) -> tuple[Tensor, ...]:
    """Forward fill.

    parts (B, L, F or 1) each, mask (B, L, F) -> of each part its last value at or before each step where mask
    is 1, and last whether there is one, (B, L, F). Before a channel's first measurement all are 0.
    """
    filled = torch.stack([*(part * mask for part in parts), mask])  # (K + 1, B, L, F)
    by, length = 1, int(mask.shape[1])
    while by < length:  # after the step of width 2^j, each place has looked back over 2^(j+1) - 1 places
        filled = filled + (1 - filled[-1:]) * F.pad(filled, (0, 0, by, -by))
        by *= 2
    return filled.unbind(0)


def step_hours(time_hours: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """time_hours (B, L), mask (B, L, F) -> dt_hours and valid, both (B, L).

    valid: 0 for padding, which is a step without measurement at the time of its neighbour: of the next one
    before the first valid step, of the one before it elsewhere. dt_hours: between each step and the one
    before it; the first valid step stands for one hour.
    """
    step = time_hours[:, 1:] - time_hours[:, :-1]  # (B, L - 1)
    dt_hours = F.pad(step, (1, 0))
    moves = torch.cat([step[:, :1], step], dim=1) > 0 if step.shape[1] else dt_hours == 0
    valid = (moves | (mask.amax(2) > 0)).to(time_hours)
    is_first = valid * valid.cumsum(1) == 1
    return dt_hours.masked_fill(is_first, 1), valid


def statistics(values: Tensor, mask: Tensor, filled: Tensor, valid: Tensor) -> Tensor:
    """(B, N_STATISTICS * F) statistics of each channel over its measurements, 0 where it has none.

    log(1 + count) / 4, mean, standard deviation, minimum, maximum, first, last, last - first, and the mean of
    the second half of the valid steps (B, L) less that of the first.
    """
    count = mask.sum(1)  # (B, F)
    n = count.clamp(min=1)
    mean = values.sum(1) / n
    deviation = ((values - mean[:, None]) * mask).square().sum(1).div(n).sqrt()
    lowest, highest = (
        values.masked_fill(mask <= 0, math.inf).amin(1),
        values.masked_fill(mask <= 0, -math.inf).amax(1),
    )
    lowest, highest = (x.masked_fill(count == 0, 0) for x in (lowest, highest))
    earlier = mask.cumsum(1) - mask  # measurements before each step
    first = (values * mask * (earlier == 0)).sum(1)
    last = filled[:, -1]
    early = (valid.cumsum(1) <= (valid.sum(1, keepdim=True) / 2).floor()).to(values)[..., None]  # (B, L, 1)
    halves = []
    for half in (early, 1 - early):
        n_half = (mask * half).sum(1)
        halves.append(((values * half).sum(1) / n_half.clamp(min=1), n_half > 0))
    (early_mean, has_early), (late_mean, has_late) = halves
    drift = (late_mean - early_mean) * (has_early & has_late)
    parts = [count.log1p() / 4, mean, deviation, lowest, highest, first, last, last - first, drift]
    return torch.cat(parts, dim=1)


class SequenceInput(nn.Module):
    """The arrays of a ``Sequence`` view to a network's inputs.

    use_mask, use_delta: feed missingness and the time since each channel's last measurement, too.
    use_statistics: give ``statistics`` as well, for the head.
    """

    def __init__(
        self,
        n_channels: int,
        n_static: int,
        *,
        use_mask: bool = True,
        use_delta: bool = True,
        use_statistics: bool = True,
    ) -> None:
        super().__init__()
        self.use_mask, self.use_delta, self.use_statistics = use_mask, use_delta, use_statistics
        self.width = n_channels * (1 + use_mask + use_delta)  # D
        self.n_wide = n_static + N_STATISTICS * n_channels * use_statistics  # W

    def forward(
        self, values: Tensor, mask: Tensor, time_hours: Tensor, static: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """values, mask (B, L, F), time_hours (B, L), static (B, S).

        Returns steps (B, L, D), dt_hours and valid (B, L) as ``step_hours`` gives them, and wide (B, W):
        descriptors and statistics. Padding in front is moved behind the valid steps.
        """
        values = values * mask
        dt_hours, valid = step_hours(time_hours, mask)
        elapsed = (time_hours - time_hours[:, :1])[..., None]
        filled, seen, have = last_observations([values, elapsed], mask)
        parts = [filled]
        if self.use_mask:
            parts.append(mask)
        if self.use_delta:  # since the first step, where never measured
            parts.append((elapsed - seen * have).clamp(min=0).log1p() / _LOG_DAY)
        steps = torch.cat(parts, dim=2) * valid[..., None]  # (B, L, D)
        wide = [static, statistics(values, mask, filled, valid)] if self.use_statistics else [static]
        return *left_aligned(valid, steps, dt_hours), torch.cat(wide, dim=1)


class SignalInput(nn.Module):
    """The arrays of a ``Signal`` view to a network's inputs: its steps, with nothing beside them."""

    n_wide = 0

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.width = n_channels

    def forward(self, values: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """values (B, L, F), valid (B, L) -> steps (B, L, F), dt_hours (a step is a step) and valid (B, L)."""
        return values * valid[..., None], valid, valid


class TokenInput(nn.Module):
    """The arrays of a ``Tokens`` view to a network's inputs; embedding them is learned, and the network's."""

    n_wide = 0

    def __init__(self, n_tokens: int, width: int) -> None:
        super().__init__()
        self.n_tokens, self.width = n_tokens, width

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """ids, mask (B, L) -> ids, dt_hours (a token is a step) and valid (B, L)."""
        return ids, mask, mask


def left_aligned(valid: Tensor, steps: Tensor, dt_hours: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """steps (B, L, D), dt_hours and valid (B, L), each row moved so that its first valid step comes first."""
    length = int(valid.shape[1])  # a constant in an exported network
    in_front = (valid.cumsum(1) == 0).sum(1, keepdim=True)  # (B, 1)
    at = torch.arange(length, device=valid.device) + in_front
    inside = (at < length).to(valid)
    at = at.clamp(max=length - 1)
    dt_hours, valid = (x.gather(1, at) * inside for x in (dt_hours, valid))
    return take_steps(steps, at) * inside[..., None], dt_hours, valid
