"""What the models of images share: the view they eat, augmentation, and how a trunk becomes a network."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from torch import nn

from ehrbench.core.errors import ConfigError
from ehrbench.models.network import NetworkModel, Ports
from ehrbench.models.settings import check_range
from ehrbench.nets.augmentation import Augmentation
from ehrbench.nets.picture import PictureNetwork


@dataclass(kw_only=True, eq=False)
class PictureModel(NetworkModel):
    """augmentation: strength of the random changes of training images, 0 none, 1 usual.

    flip: share of them mirrored left to right. dropout: within the trunk, and before the last layer.
    The rest: ``TrainingSettings``.
    """

    augmentation: float = 1.0
    flip: float = 0.5
    dropout: float = 0.1
    weight_decay: float = 0.05
    auxiliary_weight: float = 1.0
    ema_decay: float = 0.99

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("augmentation", self.augmentation, 0.0, 3.0)
        check_range("flip", self.flip, 0.0, 1.0)
        check_range("dropout", self.dropout, 0.0, 0.9)

    @abstractmethod
    def trunk(self, n_channels: int, height: int, breadth: int) -> tuple[nn.Module, int]:
        """The untrained trunk for images of this size and its number of features; see ``PictureNetwork``.

        Raises ConfigError where it does not fit them.
        """

    def network(self, ports: Ports, n_scores: int) -> PictureNetwork:
        if set(ports) != {"pixels"}:
            name, has = type(self).__name__, ", ".join(ports)
            raise ConfigError("view", f"{name} takes an Image, and this view has {has}", "use view: image")
        n_channels, height, breadth = (int(n) for n in ports["pixels"].shape)
        trunk, n_features = self.trunk(n_channels, height, breadth)
        augmentation = Augmentation(self.augmentation, self.flip)
        return PictureNetwork(augmentation, trunk, n_features, n_scores, self.dropout)
