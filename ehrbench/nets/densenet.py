"""Densely connected network (Huang et al. 2017, "Densely connected convolutional networks") of any size.

Modules are named as torchvision names them, so that its ImageNet weights fit a network of their shape.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from ehrbench.nets.resnet import convolution

#: Channels of a layer's first convolution, in growths.
BOTTLENECK = 4


class DenseLayer(nn.Module):
    """x (B, D, H, W) -> (B, growth, H, W), through a bottleneck."""

    def __init__(self, n_in: int, growth: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(n_in), convolution(n_in, BOTTLENECK * growth, 1)
        self.norm2 = nn.BatchNorm2d(BOTTLENECK * growth)
        self.conv2 = convolution(BOTTLENECK * growth, growth, 3)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(self.norm1(x).relu())
        out: Tensor = self.dropout(self.conv2(self.norm2(h).relu()))
        return out


class DenseBlock(nn.Module):
    """Each layer reads the input and all layers before it, and its output is laid beside them."""

    def __init__(self, n_in: int, growth: int, n_layers: int, dropout: float) -> None:
        super().__init__()
        for i in range(n_layers):
            self.add_module(f"denselayer{i + 1}", DenseLayer(n_in + i * growth, growth, dropout))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = torch.cat([x, layer(x)], dim=1)
        return x


class Transition(nn.Sequential):
    """Half the channels, half the image."""

    def __init__(self, n_in: int) -> None:
        super().__init__(
            OrderedDict(
                norm=nn.BatchNorm2d(n_in),
                relu=nn.ReLU(),
                conv=convolution(n_in, n_in // 2, 1),
                pool=nn.AvgPool2d(2),
            )
        )


class DenseNet(nn.Module):
    """x (B, n_channels, H, W) -> features (B, n_features, H', W').

    width: channels of the stem; layers of stage s: ``n_layers`` times (1, 2, 4, 2.66…)[s], which for 6 and
    four stages is DenseNet-121 (6, 12, 24, 16), at width 64 and growth 32.
    """

    def __init__(
        self,
        n_channels: int,
        *,
        width: int,
        growth: int,
        n_stages: int,
        n_layers: int,
        large_stem: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        stem: list[tuple[str, nn.Module]] = [
            ("conv0", convolution(n_channels, width, 7 if large_stem else 3, 2)),
            ("norm0", nn.BatchNorm2d(width)),
            ("relu0", nn.ReLU()),
        ]
        if large_stem:
            stem.append(("pool0", nn.MaxPool2d(3, 2, 1)))
        self.features = nn.Sequential(OrderedDict(stem))
        n = width
        for stage in range(n_stages):
            if stage:
                self.features.add_module(f"transition{stage}", Transition(n))
                n //= 2
            layers = max(1, round(n_layers * (1, 2, 4, 8 / 3)[stage % 4]))
            self.features.add_module(f"denseblock{stage + 1}", DenseBlock(n, growth, layers, dropout))
            n += layers * growth
        self.features.add_module(f"norm{n_stages + 1}", nn.BatchNorm2d(n))
        self.n_features = n

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.features(x.contiguous(memory_format=torch.channels_last))
        return h.relu()
