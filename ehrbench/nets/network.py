"""Network: what every net here is. The arrays of a view in, scores out, in two stages.

``prepare`` holds no parameters and looks at one row at a time (forward fill, time since the last measurement,
statistics), so a trainer runs it once over a whole fold and not once an epoch; ``score`` holds all that is
learned. ``forward`` is both, which is what an exported network computes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Network(nn.Module, ABC):
    """Subclasses define ``prepare`` and ``score``."""

    @abstractmethod
    def prepare(self, **arrays: Tensor) -> tuple[Tensor, ...]:
        """The view's arrays (B, ...) to what ``score`` takes (B, ...). No parameters, no dropout."""

    @abstractmethod
    def score(self, *prepared: Tensor) -> Tensor:
        """Scores (B, C): logits, or unnormalised log probabilities for a multi-class target."""

    def forward(self, **arrays: Tensor) -> Tensor:
        return self.score(*self.prepare(**arrays))
