"""A bundle of the real xray task: a network and a linear model fitted on drawn chests, some with a mark."""

from __future__ import annotations

from pathlib import Path

from ehrbench.core.featurizer import Featurizer
from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray
from ehrbench.features.pixels import Pixels
from ehrbench.features.pooled import Pooled
from ehrbench.models.cnn import CNN
from ehrbench.models.logistic import Logistic
from ehrbench.tasks.xray import XRay
from tests.models.marked import marked
from tests.runtime.building import build_bundle


def export_cnn(folder: Path, featurizer: Featurizer, records: Records, y: FloatArray, target: Target) -> str:
    small = {"width": 8, "n_stages": 3, "max_epochs": 12, "batch_size": 16, "learning_rate": 0.01}
    model = CNN(target=target, featurizer=featurizer, augmentation=0.2, accelerator="cpu", **small)
    model.fit(records, None, seed=1)
    return model.export(folder).runner


def export_logistic(
    folder: Path, featurizer: Featurizer, records: Records, y: FloatArray, target: Target
) -> str:
    model = Logistic(target=target, featurizer=featurizer)
    model.fit(records, None, seed=1)
    return model.export(folder).runner


def xray_bundle(directory: Path) -> Path:
    """It calls a planted mark pneumonia."""
    records, _ = marked(200, seed=1)
    return build_bundle(
        directory,
        task=XRay(),
        task_path="ehrbench.tasks.xray.XRay",
        task_settings={},
        records=records,
        y=records.labels,
        models={
            "cnn": [(export_cnn, Pixels, "ehrbench.features.pixels.Pixels")],
            "logistic": [
                (export_logistic, lambda: Pooled(scaling="standard"), "ehrbench.features.pooled.Pooled")
            ],
        },
        cohort="simulated",
    )
