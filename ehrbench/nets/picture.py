"""Picture network: pixels to scores, by any trunk that makes a map of features of an image.

Pixels stay 8-bit until the network itself scales them: a batch of them is small, and an exported network
takes what the decoder gives. Each image is centred and scaled by its own mean and deviation, so that the
exposure of a machine says nothing.
"""

from __future__ import annotations

from torch import Tensor, nn

from ehrbench.nets.augmentation import Augmentation
from ehrbench.nets.network import Network

#: Added to an image's deviation (of 0 to 1): an empty image stays one.
FLOOR = 0.05


class PictureNetwork(Network):
    """trunk: x (B, channels, H, W) -> (B, D, H', W'); the head sees the mean over H' and W'."""

    def __init__(
        self, augmentation: Augmentation, trunk: nn.Module, n_features: int, n_scores: int, dropout: float
    ) -> None:
        super().__init__()
        self.augmentation, self.trunk = augmentation, trunk
        self.dropout, self.out = nn.Dropout(dropout), nn.Linear(n_features, n_scores)

    def prepare(self, **arrays: Tensor) -> tuple[Tensor, ...]:
        return (arrays["pixels"],)

    def score(self, *prepared: Tensor) -> Tensor:
        """(B, channels, H, W) uint8 -> (B, C)."""
        x = self.augmentation(prepared[0].float() / 255)
        x = x - x.mean((1, 2, 3), keepdim=True)
        x = x / (x.square().mean((1, 2, 3), keepdim=True).sqrt() + FLOOR)
        scores: Tensor = self.out(self.dropout(self.trunk(x).mean((2, 3))))
        return scores
