"""Augmentation: each image of a training batch turned, shifted, scaled, lit and covered a little, at random.

On the fly, on the device that trains, and in training mode only, so an exported network knows nothing of it.
It draws from torch's generators, which a fit seeds. What is done and how far follows common practice for
chest radiographs: small turns and shifts as patients stand, exposures as machines differ, no vertical flip;
covering after DeVries & Taylor 2017, "Improved regularization of convolutional neural networks with cutout".
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: At strength 1: degrees of turning, shares of the image of shifting, scaling, shearing and covering, and
#: standard deviations of the logarithms of contrast and gamma, of brightness, and of noise.
TURN_DEGREES, SHIFT, SCALE, SHEAR, COVER = 10.0, 0.08, 0.12, 0.05, 0.25
CONTRAST, GAMMA, BRIGHTNESS, NOISE = 0.2, 0.2, 0.1, 0.02


class Augmentation(nn.Module):
    """x (B, channels, H, W) of 0 to 1 -> the same, each image changed by itself; unchanged outside training.

    strength: 0 changes nothing, 1 as the constants say. flip: share of images mirrored left to right, which
    moves the heart to the right: 0 where sides matter.
    """

    def __init__(self, strength: float, flip: float) -> None:
        super().__init__()
        self.strength, self.flip = strength, flip

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not (self.strength or self.flip):
            return x
        x = self._moved(x)
        return self._covered(self._lit(x)) if self.strength else x

    def _moved(self, x: Tensor) -> Tensor:
        n = len(x)

        def spread(width: float) -> Tensor:
            return (2 * torch.rand(n, device=x.device) - 1) * width * self.strength

        angle, shear = spread(math.radians(TURN_DEGREES)), spread(SHEAR)
        scale = torch.exp(spread(SCALE))
        side = torch.where(torch.rand(n, device=x.device) < self.flip, -1.0, 1.0)
        cos, sin = angle.cos() * scale, angle.sin() * scale
        rows = torch.stack([cos * side, shear - sin, spread(2 * SHIFT)], dim=1)
        columns = torch.stack([sin * side, cos, spread(2 * SHIFT)], dim=1)
        grid = F.affine_grid(torch.stack([rows, columns], dim=1), list(x.shape), align_corners=False)
        return F.grid_sample(x, grid.to(x.dtype), padding_mode="border", align_corners=False)

    def _lit(self, x: Tensor) -> Tensor:
        def drawn(deviation: float) -> Tensor:
            return torch.randn(len(x), 1, 1, 1, device=x.device, dtype=x.dtype) * deviation * self.strength

        x = x.clamp(1e-3, 1) ** drawn(GAMMA).exp()
        middle = x.mean((1, 2, 3), keepdim=True)
        x = middle + (x - middle) * drawn(CONTRAST).exp() + drawn(BRIGHTNESS)
        return (x + torch.randn_like(x) * (NOISE * self.strength)).clamp(0, 1)

    def _covered(self, x: Tensor) -> Tensor:
        """One box of each second image, of at most COVER of either side, becomes grey."""
        n, height, width = len(x), x.shape[2], x.shape[3]

        def within(length: int) -> Tensor:
            centre, half = torch.rand(2, n, 1, device=x.device)
            place = (torch.arange(length, device=x.device) + 0.5) / length
            covered: Tensor = (place - centre).abs() < half * COVER * self.strength / 2
            return covered  # (B, length)

        chosen = torch.rand(n, 1, 1, device=x.device) < 0.5
        box = within(height)[:, :, None] & within(width)[:, None, :] & chosen
        return torch.where(box[:, None], 0.5, x)
