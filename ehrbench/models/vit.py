"""ViT: a vision transformer on images; as an option state-space layers mix the patches, not attention."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ehrbench.core.errors import ConfigError
from ehrbench.models.picture import PictureModel
from ehrbench.models.settings import check_choice, check_integer, check_multiple
from ehrbench.nets.vit import MIXERS, VisionTransformer


@dataclass(kw_only=True, eq=False)
class ViT(PictureModel):
    """patch: pixels of a patch's side; width, n_layers: of the tokens and of the stack over them.

    mixer: attention with ``attention_heads``, or ssm with ``n_pairs`` conjugate pairs of states a layer, in
    both directions along the rows of patches. The rest: ``PictureModel``.
    """

    patch: int = 8
    width: int = 64
    n_layers: int = 4
    mixer: str = "attention"
    attention_heads: int = 4
    n_pairs: int = 16
    max_epochs: int = 20
    warmup_epochs: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("patch", self.patch, 2, 64)
        check_integer("width", self.width, 4, 4096)
        check_integer("n_layers", self.n_layers, 1, 32)
        check_choice("mixer", self.mixer, MIXERS)
        check_integer("attention_heads", self.attention_heads, 1, 64)
        check_integer("n_pairs", self.n_pairs, 1, 1024)
        if self.mixer == "attention":
            check_multiple("width", self.width, "attention_heads", self.attention_heads)

    def trunk(self, n_channels: int, height: int, breadth: int) -> tuple[nn.Module, int]:
        if height % self.patch or breadth % self.patch:
            problem = f"{self.patch} does not divide an image of {height} × {breadth} pixels"
            raise ConfigError("patch", problem, "take one that does")
        trunk = VisionTransformer(
            n_channels,
            height,
            breadth,
            patch=self.patch,
            width=self.width,
            n_layers=self.n_layers,
            n_heads=self.attention_heads,
            n_pairs=self.n_pairs,
            mixer=self.mixer,
            dropout=self.dropout,
        )
        return trunk, self.width
