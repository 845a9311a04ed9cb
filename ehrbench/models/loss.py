"""The training loss: the one place of the networks that asks what kind of target there is.

Weighted by class, yet calibrated: a loss weighted by w alone moves the optimal score by log w, so the same
log w is added to the scores that the loss sees (logit adjustment, Menon et al. 2021, "Long-tail learning via
logit adjustment", eq. 10). The network's own scores then stay log odds of the true prevalence, and need no
correction.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ehrbench.core.target import Kind


class TargetLoss(nn.Module):
    """Mean log loss over known labels. weights (C,): of positive labels, 1 for the plain log loss."""

    weights: Tensor

    def __init__(self, kind: Kind, weights: Tensor) -> None:
        super().__init__()
        self.kind = kind
        self.register_buffer("weights", weights)

    def forward(self, scores: Tensor, y: Tensor) -> Tensor:
        """scores, y (B, C), y of 0, 1 and NaN (unknown: no loss) -> a scalar, 0 where nothing is known."""
        adjusted = scores.to(torch.promote_types(scores.dtype, torch.float32)) + self.weights.log()
        known = ~y.isnan()
        y = torch.where(known, y, torch.zeros_like(y)).to(adjusted.dtype)
        if self.kind == "multiclass":
            weight = (y * self.weights).sum(1)  # (B,), 0 where the class is unknown
            loss = -(y * adjusted.log_softmax(1)).sum(1) * (y * self.weights).sum(1)
        else:
            weight = (1 + y * (self.weights - 1)) * known
            loss = F.binary_cross_entropy_with_logits(adjusted, y, reduction="none") * weight
        return loss.sum() / weight.sum().clamp(min=1e-12)


class JointLoss(nn.Module):
    """Loss of the target plus ``weight`` times the mean log loss of auxiliary labels.

    Their scores and labels stand in the columns after the target's (Caruana 1997, "Multitask learning").
    """

    def __init__(self, target: TargetLoss, n_auxiliary: int, weight: float) -> None:
        super().__init__()
        self.target, self.weight = target, weight
        self.auxiliary = TargetLoss("multilabel", torch.ones(n_auxiliary))

    def forward(self, scores: Tensor, y: Tensor) -> Tensor:
        """scores, y (B, C + A) -> a scalar."""
        n = len(self.target.weights)  # C
        loss: Tensor = self.target(scores[:, :n], y[:, :n])
        loss = loss + self.weight * self.auxiliary(scores[:, n:], y[:, n:])
        return loss
