"""Saliency: which pixels raise a network's scores for an image, and which lower them.

Integrated gradients (Sundararajan, Taly & Yan 2017, eq. 1) along the straight line from an image of the same
mean grey everywhere to the image: what shows nothing is the start. Gradients of a network with kinks are
noisy from pixel to pixel; sums over regions are not, so regions are what a reader is told.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from ehrbench.core.types import FloatArray

#: Points of the line: midpoints of as many equal pieces.
STEPS = 32
#: Images at once.
BATCH = 64


def pixel_saliency(net: nn.Module, pixels: np.ndarray) -> tuple[FloatArray, FloatArray]:
    """pixels (V, channels, H, W) -> parts (V, C, H, W), and (V, C) what they leave of the scores' difference.

    net: takes ``pixels`` by name, gives scores (V, C).
    """
    net = copy.deepcopy(net).cpu().eval().requires_grad_(False)
    parts, gaps = [], []
    for start in range(0, len(pixels), BATCH):
        image = torch.from_numpy(np.array(pixels[start : start + BATCH])).float()
        grey = image.mean((1, 2, 3), keepdim=True).expand_as(image)
        total: torch.Tensor | None = None
        for step in range(STEPS):
            point = torch.lerp(grey, image, (step + 0.5) / STEPS).requires_grad_()
            scores = net(pixels=point)  # (V, C)
            gradients = [
                torch.autograd.grad(scores[:, c].sum(), point, retain_graph=True)[0]
                for c in range(scores.shape[1])
            ]
            found = torch.stack(gradients, dim=1)  # (V, C, channels, H, W)
            total = found if total is None else total + found
        assert total is not None
        own = (total / STEPS * (image - grey)[:, None]).sum(2)
        with torch.no_grad():
            gaps.append((net(pixels=image) - net(pixels=grey) - own.sum((2, 3))).numpy())
        parts.append(own.numpy())
    return np.concatenate(parts), np.concatenate(gaps)
