"""Starting weights in torchvision's form, the sizes that fit an image, and what augmentation may change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ehrbench.core.errors import ConfigError
from ehrbench.core.target import Target
from ehrbench.features.pixels import Pixels
from ehrbench.models.cnn import CNN
from ehrbench.models.vit import ViT
from ehrbench.nets.augmentation import Augmentation
from ehrbench.nets.densenet import DenseNet
from ehrbench.nets.resnet import ResNet
from tests.models.marked import marked

TARGET = Target("binary", ("mark",))


def model(**settings: Any) -> CNN:
    small = {"width": 8, "n_stages": 2, "max_epochs": 1, "accelerator": "cpu", "learning_rate": 1e-6}
    return CNN(target=TARGET, featurizer=Pixels(), **small | settings)


def test_resnet_18_and_densenet_121_have_torchvisions_names_and_shapes() -> None:
    resnet = ResNet(3, width=64, n_stages=4, n_layers=2, large_stem=True, dropout=0.0)
    shapes = {name: tuple(value.shape) for name, value in resnet.state_dict().items()}
    assert shapes["conv1.weight"] == (64, 3, 7, 7)
    assert shapes["layer2.0.downsample.0.weight"] == (128, 64, 1, 1)
    assert shapes["layer4.1.bn2.running_var"] == (512,)
    assert sum(p.numel() for p in resnet.parameters()) == 11_176_512  # without its 513,000 of fc
    densenet = DenseNet(3, width=64, growth=32, n_stages=4, n_layers=6, large_stem=True, dropout=0.0)
    shapes = {name: tuple(value.shape) for name, value in densenet.state_dict().items()}
    assert shapes["features.denseblock3.denselayer24.conv2.weight"] == (32, 128, 3, 3)
    assert shapes["features.transition3.conv.weight"] == (512, 1024, 1, 1)
    assert sum(p.numel() for p in densenet.parameters()) == 6_953_856  # without its 1,025,000 of classifier


@pytest.mark.parametrize("architecture", ["resnet", "densenet"])
def test_a_fit_starts_from_given_weights_its_first_layer_summed_over_colours(
    architecture: str, tmp_path: Path
) -> None:
    trunk, _ = model(architecture=architecture).trunk(3, 64, 64)
    state = trunk.state_dict() | {"fc.weight": torch.zeros(1000, 3)}
    torch.save(state, tmp_path / "weights.pth")
    records, _ = marked(8, 1)
    fitted = model(architecture=architecture, weights=str(tmp_path / "weights.pth"))
    fitted.fit(records, None, seed=1, steps=1)
    first = "conv1.weight" if architecture == "resnet" else "features.conv0.weight"
    kept = fitted.fitted_network.get_submodule("trunk").state_dict()
    torch.testing.assert_close(kept[first], state[first].sum(1, keepdim=True), atol=1e-4, rtol=0)
    wrong = model(architecture=architecture, width=16, weights=str(tmp_path / "weights.pth"))
    with pytest.raises(ConfigError, match=r"^weights: .* is \(8, 1, 3, 3\), not \(16, 1, 3, 3\) — choose"):
        wrong.fit(records, None, seed=1, steps=1)


def test_files_that_are_no_weights_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^weights: there is no file"):
        model(weights=str(tmp_path / "none.pth"))
    (tmp_path / "text.pth").write_text("hello")
    torch.save([1, 2], tmp_path / "list.pth")
    records, _ = marked(8, 1)
    for name in ("text.pth", "list.pth"):
        with pytest.raises(ConfigError, match=r"^weights: .*—"):
            model(weights=str(tmp_path / name)).fit(records, None, seed=1, steps=1)


def test_images_that_are_too_small_or_do_not_divide_are_told() -> None:
    records, _ = marked(8, 1)
    with pytest.raises(ConfigError, match=r"^n_stages: 6 leave less than 2 × 2 of 64 × 64 pixels —"):
        model(n_stages=6).fit(records, None, seed=1)
    with pytest.raises(ConfigError, match=r"^patch: 7 does not divide"):
        ViT(target=TARGET, featurizer=Pixels(), patch=7, accelerator="cpu").fit(records, None, seed=1)


def test_augmentation_changes_training_images_alone_each_by_itself_and_by_seed() -> None:
    images = torch.rand(6, 1, 32, 32).expand(6, 1, 32, 32).clone()
    images[1] = images[0]
    augmentation = Augmentation(1.0, 0.5)
    assert torch.equal(augmentation.eval()(images), images)
    augmentation.train()
    torch.manual_seed(3)
    once = augmentation(images)
    torch.manual_seed(3)
    assert torch.equal(augmentation(images), once)
    assert not torch.allclose(once[0], once[1])
    assert once.shape == images.shape
    assert 0 <= once.min() <= once.max() <= 1
    torch.testing.assert_close(Augmentation(0.0, 0.0).train()(images), images)
    torch.testing.assert_close(Augmentation(0.0, 1.0).train()(images), images.flip(3), atol=1e-4, rtol=1e-4)
