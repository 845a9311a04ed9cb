"""Networks by device: what a fit costs and gives on the CPU, and on a GPU at 32 bit and in bf16.

``python -m benchmarks.devices [overrides]``; takes Hydra overrides as search.py does, for example
``models=[ssm]`` or ``model.lstm.build.width=256``. Fits the first inner fold of the hold-out protocol with
each network's own settings, twice on each device, and predicts the test set. ``EHRBENCH_DATA`` is the folder
with the publishers' files; without it 8,000 patients are simulated, and AUROC says nothing of real ones.

seconds an epoch: of the second fit, without featurizing; memory: most that torch held on the GPU; repeats:
whether the two fits predict the same bits; from CPU: largest difference of a probability when the CPU
predicts with what the device trained.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir

from ehrbench import metrics
from ehrbench.app.composed.checking import check
from ehrbench.app.composed.conf import CONF
from ehrbench.app.composed.entry import guarded, spell_out
from ehrbench.app.wired.splitting import read_and_split
from ehrbench.app.wired.wiring import plan, settled
from ehrbench.core.model import Model
from ehrbench.core.progress import SILENT
from ehrbench.core.records import Records
from ehrbench.core.types import FloatArray
from ehrbench.models.network import NetworkModel
from ehrbench.publishers.physionet2012 import PhysioNet2012
from ehrbench.spine.search import Builder
from ehrbench.tasks.mortality import Mortality

DEFAULTS = ("models=[ssm,lstm,dssm,mlp]", "protocol=holdout", "data.train_sets=[a]", "data.test_sets=[b]")
CPU = {"accelerator": "cpu", "precision": "32"}
#: Name -> settings of a network.
DEVICES: dict[str, dict[str, Any]] = {
    "CPU": CPU,
    "GPU, 32 bit": {"accelerator": "gpu", "precision": "32"},
    "GPU, bf16": {"accelerator": "gpu", "precision": "bf16"},
}


@dataclass(frozen=True)
class Fitted:
    """One network, fitted twice on one device."""

    epoch_s: float
    n_epochs: int
    memory_mib: float | None
    p: FloatArray  # (U, C)
    repeats: bool
    from_cpu: float


class _Ends(list[float]):
    """A Watch that notes when each epoch ended."""

    def __call__(self, step: int, total: int, values: dict[str, float]) -> None:
        self.append(time.perf_counter())


def fit(
    builder: Builder, settings: Mapping[str, Any], train: Records, valid: Records, test: Records
) -> Fitted:
    """Fit twice, predict ``test`` there and on the CPU."""
    on_gpu = settings["accelerator"] == "gpu"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    found: list[FloatArray] = []
    for _ in range(2):
        model, ends = builder(dict(settings)), _Ends()
        model.fit(train, valid, seed=0, watch=ends)
        found.append(model.predict(test))
    memory = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else None
    epoch_s = (ends[-1] - ends[0]) / max(1, len(ends) - 1)
    repeats = bool((found[0] == found[1]).all())
    from_cpu = float(np.abs(found[1] - _on_cpu(model, builder, settings).predict(test)).max())
    return Fitted(epoch_s, len(ends), memory, found[1], repeats, from_cpu)


def _on_cpu(model: Model, builder: Builder, settings: Mapping[str, Any]) -> Model:
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder))
        other = builder(dict(settings) | CPU)
        other.restore(Path(folder))
    return other


def measure(config: Mapping[str, Any], devices: Sequence[str]) -> None:
    """Print a line for each network and device."""
    settings, publisher = settled(check(config), SILENT)
    planned = plan(settings)
    cohort, split = read_and_split(publisher, settings, SILENT)
    outer = split.outer[0]
    parts = (outer.inner[0].train, outer.inner[0].valid, outer.test)
    train, valid, test = (cohort.records.take(index) for index in parts)
    auroc = metrics.load("auroc")
    print(f"{split.label}, {cohort.label}: {len(train)} fitted, {len(valid)} stop, {len(test)} judge")
    print(f"torch {torch.__version__}; GPU: {torch.cuda.get_device_name() if len(devices) > 1 else 'none'}")
    row = "{:6} {:12} {:>11} {:>7} {:>11} {:>8} {:>8} {:>9}"
    print(row.format("", "", "s an epoch", "epochs", "memory MiB", "AUROC", "repeats", "from CPU"))
    for name, contender in planned.contenders.items():
        if not isinstance(contender.builder({}), NetworkModel):
            continue
        for device in devices:
            one = fit(contender.builder, DEVICES[device], train, valid, test)
            memory = "" if one.memory_mib is None else f"{one.memory_mib:.0f}"
            score = auroc(test.labels, one.p, target=planned.task.target)
            print(
                row.format(
                    name, device, f"{one.epoch_s:.3f}", one.n_epochs, memory, f"{score:.4f}",
                    "yes" if one.repeats else "NO", f"{one.from_cpu:.1e}",
                ),
                flush=True,
            )  # fmt: skip


@contextmanager
def composed(overrides: Sequence[str]) -> Iterator[Any]:
    """The configuration with these overrides, while the data that it names are there."""
    with tempfile.TemporaryDirectory() as folder:
        data = os.environ.get("EHRBENCH_DATA")
        if data is None:
            PhysioNet2012(Mortality()).simulate(Path(folder), 8000, 0)
        with initialize_config_dir(str(CONF)):
            arguments = spell_out([f"data.root={data or folder}", *overrides])
            yield compose("config", overrides=arguments)


def main() -> None:
    devices = list(DEVICES) if torch.cuda.is_available() else ["CPU"]
    with composed([*DEFAULTS, *sys.argv[1:]]) as config:
        guarded(lambda checked: measure(checked, devices), config)


if __name__ == "__main__":
    main()
