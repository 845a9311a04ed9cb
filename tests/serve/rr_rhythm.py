"""A bundle of the real rr_rhythm task: a network over recordings and trees on beats."""

from __future__ import annotations

from pathlib import Path

from ehrbench.core.featurizer import Featurizer
from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray
from ehrbench.features.beat_context import BeatContext
from ehrbench.features.rhythm import Rhythm
from ehrbench.models.ssm import SSM
from ehrbench.publishers.cardiospike import CardioSpike
from ehrbench.tasks.rr_rhythm import RRRhythm
from tests.runtime.building import build_bundle, export_trees


def export_ssm(folder: Path, featurizer: Featurizer, records: Records, y: FloatArray, target: Target) -> str:
    small = {"width": 8, "n_layers": 1, "n_pairs": 4, "max_epochs": 1, "use_mask": False, "use_delta": False}
    model = SSM(target=target, featurizer=featurizer, bidirectional=True, accelerator="cpu", **small)
    model.fit(records, None, seed=1)
    return model.export(folder).runner


def rr_bundle(directory: Path) -> Path:
    publisher = CardioSpike(RRRhythm())
    publisher.simulate(directory / "data", 5, seed=1)
    records = publisher.read(directory / "data", ()).records
    return build_bundle(
        directory / "bundle",
        task=publisher.task,
        task_path="ehrbench.tasks.rr_rhythm.RRRhythm",
        task_settings={},
        records=records,
        y=records.labels,
        models={
            "ssm": [(export_ssm, Rhythm, "ehrbench.features.rhythm.Rhythm")],
            "lightgbm": [(export_trees, BeatContext, "ehrbench.features.beat_context.BeatContext")],
        },
        cohort="simulated",
    )
