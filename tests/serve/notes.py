"""A bundle of the real transcriptions task, fitted on simulated notes."""

from __future__ import annotations

from pathlib import Path

from ehrbench.core.featurizer import Featurizer
from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray
from ehrbench.features.tfidf import TfIdf
from ehrbench.models.bag_logistic import BagLogistic
from ehrbench.publishers.mtsamples import MTSamples
from ehrbench.tasks.transcriptions import Transcriptions
from tests.runtime.building import build_bundle


def export_logistic(
    folder: Path, featurizer: Featurizer, records: Records, y: FloatArray, target: Target
) -> str:
    model = BagLogistic(target=target, featurizer=featurizer)
    model.fit(records, None, seed=1)
    return model.export(folder).runner


def notes_bundle(directory: Path) -> Path:
    """Its words are made up, and each of a specialty's own speaks for it."""
    task = Transcriptions()
    publisher = MTSamples(task)
    publisher.simulate(directory / "data", 200, seed=1)
    records = publisher.read(directory / "data", ()).records
    return build_bundle(
        directory / "bundle",
        task=task,
        task_path="ehrbench.tasks.transcriptions.Transcriptions",
        task_settings={},
        records=records,
        y=records.labels,
        models={"tfidf_logistic": [(export_logistic, TfIdf, "ehrbench.features.tfidf.TfIdf")]},
    )
