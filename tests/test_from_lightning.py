"""``scripts/from_lightning.py``: a checkpoint as Lightning writes it says in a bundle what it says in torch.

The file has the keys of Lightning's (2.6), which this project does not install, of a LightningModule that
holds the network as ``self.network``.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from ehrbench.features.statistics import Statistics
from ehrbench.models.mlp import MLP
from ehrbench.publishers.physionet2012 import PhysioNet2012
from ehrbench.runtime import Bundle
from ehrbench.tasks.mortality import Mortality
from tests.repository.conftest import script as module_of

KEYS = ["--task", "mortality", "--model", "mlp", "--prefix", "network.", "data.sets=[a]"]
WIDTH = "model.mlp.build.width=16"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return module_of("from_lightning")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, np.ndarray]:
    """Data, a checkpoint, and what its network says of them."""
    folder = tmp_path_factory.mktemp("lightning")
    publisher = PhysioNet2012(Mortality(), cache=False)
    publisher.simulate(folder / "data", 60, 2)
    records = publisher.read(folder / "data", ["a"]).records
    model = MLP(target=publisher.task.target, featurizer=Statistics(scaling="quantile"), width=16)
    view = model.featurizer.fit(records).transform(records)
    torch.manual_seed(3)
    net = model.network(view.ports(), 1).eval()
    state = {f"network.{name}": value for name, value in net.state_dict().items()}
    loops: dict[str, Any] = {"fit_loop": {"state_dict": {}}}
    torch.save(
        {"epoch": 2, "global_step": 2, "pytorch-lightning_version": "2.6.6", "state_dict": state,
         "loops": loops, "callbacks": {}, "optimizer_states": [], "lr_schedulers": []},
        folder / "last.ckpt",
    )  # fmt: skip
    with torch.no_grad():
        scores = net(**{name: torch.from_numpy(np.array(x)) for name, x in view.arrays().items()})
    return folder / "data", folder / "last.ckpt", torch.sigmoid(scores).numpy()


def test_the_bundle_says_what_the_module_says(
    script: ModuleType, trained: tuple[Path, Path, np.ndarray], tmp_path: Path
) -> None:
    data, checkpoint, said = trained
    assert script.main([str(checkpoint), str(tmp_path / "bundle"), *KEYS, WIDTH, f"data.root={data}"]) == 0
    bundle = Bundle.load(tmp_path / "bundle")
    records = PhysioNet2012(Mortality(), cache=False).read(data, ["a"]).records
    np.testing.assert_allclose(bundle.predict(records.without_labels()).probabilities, said, atol=1e-5)
    assert np.ptp(said) > 0.001
    assert bundle.manifest.parity["members"]["members/mlp/0"] <= 1e-5
    assert bundle.seen(records).all()
    assert bundle.manifest.cohort == "simulated"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ([WIDTH, "--prefix", "net."], "nothing in it begins with 'net.' — its names are network."),
        (["model.mlp.build.width=32"], "not the weights of this model (size mismatch"),
        (["--model", "logistic"], "no network, so no checkpoint is one of it"),
    ],
)
def test_another_network_is_refused_in_one_line(
    script: ModuleType,
    trained: tuple[Path, Path, np.ndarray],
    tmp_path: Path,
    change: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data, checkpoint, _ = trained
    assert script.main([str(checkpoint), str(tmp_path / "bundle"), *KEYS, f"data.root={data}", *change]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.strip().splitlines()) == 1
    assert not (tmp_path / "bundle").exists()


def test_a_pickle_is_not_run(script: ModuleType, tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "hyper_parameters": Path("anything")}, tmp_path / "hostile.ckpt")
    with pytest.raises(script.BundleError, match="no checkpoint to be read without running it"):
        script.weights(tmp_path / "hostile.ckpt", "")
