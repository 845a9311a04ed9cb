"""CNN: a residual or densely connected network on images, from scratch or from ImageNet's weights."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ehrbench.core.errors import ConfigError
from ehrbench.core.views import View
from ehrbench.models.network import Ports
from ehrbench.models.picture import PictureModel
from ehrbench.models.settings import check_choice, check_flag, check_integer
from ehrbench.nets.densenet import DenseNet
from ehrbench.nets.network import Network
from ehrbench.nets.picture import PictureNetwork
from ehrbench.nets.resnet import ResNet

ARCHITECTURES = ("resnet", "densenet")
#: What torch raises for files that are no weights, or hold more than plain ones.
_NOT_LOADED = (
    *(OSError, EOFError, RuntimeError, ValueError, LookupError, AttributeError, TypeError),
    pickle.UnpicklingError,
)
#: The last map of features is at least so many pixels high and wide.
LEAST_MAP = 2


@dataclass(kw_only=True, eq=False)
class CNN(PictureModel):
    """architecture: resnet or densenet; width: channels of the first stage.

    n_stages: each but the first halves the image, and a resnet's doubles the channels. n_layers: blocks of a
    resnet's stage, or dense layers of the first stage, later ones have more (see ``nets.densenet``).
    growth: channels a dense layer adds. large_stem: quarters the image at once, for 128 pixels and more.
    weights: file of torchvision's weights to start from (a state dict of a network of the same shape), or
        empty. The rest: ``PictureModel``.
    """

    architecture: str = "resnet"
    width: int = 16
    n_stages: int = 4
    n_layers: int = 1
    growth: int = 12
    large_stem: bool = False
    weights: str = ""
    learning_rate: float = 0.003
    max_epochs: int = 12

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("architecture", self.architecture, ARCHITECTURES)
        check_integer("width", self.width, 4, 1024)
        check_integer("n_stages", self.n_stages, 1, 6)
        check_integer("n_layers", self.n_layers, 1, 32)
        check_integer("growth", self.growth, 2, 256)
        check_flag("large_stem", self.large_stem)
        if self.weights and not Path(self.weights).is_file():
            raise ConfigError("weights", f"there is no file {self.weights!r}", 'name one, or say weights: ""')

    def trunk(self, n_channels: int, height: int, breadth: int) -> tuple[nn.Module, int]:
        halvings = self.n_stages + self.large_stem
        if min(height, breadth) >> halvings < LEAST_MAP:
            raise ConfigError(
                "n_stages",
                f"{self.n_stages} leave less than {LEAST_MAP} × {LEAST_MAP} of {height} × {breadth} pixels",
                "use fewer stages, large_stem: false, or larger images",
            )
        trunk: ResNet | DenseNet
        if self.architecture == "resnet":
            trunk = ResNet(
                n_channels,
                width=self.width,
                n_stages=self.n_stages,
                n_layers=self.n_layers,
                large_stem=self.large_stem,
                dropout=self.dropout,
            )
        else:
            trunk = DenseNet(
                n_channels,
                width=self.width,
                growth=self.growth,
                n_stages=self.n_stages,
                n_layers=self.n_layers,
                large_stem=self.large_stem,
                dropout=self.dropout,
            )
        return trunk, trunk.n_features

    def network(self, ports: Ports, n_scores: int) -> PictureNetwork:
        net: nn.Module = super().network(ports, n_scores)
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        assert isinstance(net, PictureNetwork)
        return net

    def _start(self, view: View, n_scores: int) -> Network:
        net = super()._start(view, n_scores)
        if self.weights:
            trunk = net.get_submodule("trunk")
            trunk.load_state_dict(fitting(trunk.state_dict(), self.weights))
        return net


def fitting(wanted: dict[str, Tensor], file: str) -> dict[str, Tensor]:
    """The tensors of a file that a trunk wants; a first layer for three colours is summed over them.

    Raises ConfigError naming the first tensor that is not there, or has another shape.
    """
    remedy = "choose architecture, width, n_stages, n_layers and large_stem as the weights have them"
    try:
        given = torch.load(file, map_location="cpu", weights_only=True)
    except _NOT_LOADED as error:
        problem = f"{file} holds no plain weights ({type(error).__name__})"
        raise ConfigError("weights", problem, "give a state dict as torchvision publishes it") from error
    found = {}
    for name, value in wanted.items():
        tensor = given.get(name) if isinstance(given, dict) else None
        if tensor is None:
            raise ConfigError("weights", f"{file} has no {name}", remedy)
        if value.dim() == 4 and value.shape[1] == 1 and tensor.shape[1] == 3:
            tensor = tensor.sum(1, keepdim=True)
        if tensor.shape != value.shape:
            problem = f"{file}: {name} is {tuple(tensor.shape)}, not {tuple(value.shape)}"
            raise ConfigError("weights", problem, remedy)
        found[name] = tensor
    return found
