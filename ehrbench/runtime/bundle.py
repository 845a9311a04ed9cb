"""Bundle: a directory that predicts on its own, opened.

What a file must hold is in ``ehrbench.core.bundle``. Opening checks every file against its checksum, imports
nothing outside ``ehrbench.tasks`` and ``ehrbench.features``, unpickles nothing, and keeps no path open, so a
bundle may be copied, moved and read from any working directory. It does not judge whether a bundle is
good enough to serve.

Thread safety: ``predict`` may be called from several threads at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np

from ehrbench.core.bundle import (
    ENSEMBLE,
    MANIFEST,
    PARITY,
    PROFILE,
    TRAINING_GROUPS,
    UNCERTAINTY,
    Manifest,
    bundle_folder,
    file_digest,
    group_hashes,
)
from ehrbench.core.errors import BundleError
from ehrbench.core.files import CHECKSUMS
from ehrbench.core.profile import Profile
from ehrbench.core.records import Records
from ehrbench.core.task import Task
from ehrbench.core.types import BoolArray, FloatArray, IntArray
from ehrbench.ensemble import Ensemble
from ehrbench.ensemble.uncertainty import Uncertainty, read_uncertainty
from ehrbench.runtime.member import LoadedMember, load_member
from ehrbench.runtime.opening import build, check_files, read_file
from ehrbench.runtime.runners import Device

T = TypeVar("T")
#: Units predicted at once: bounds the memory of the views, whatever the size of the input.
BATCH_UNITS = 4096


@dataclass(frozen=True)
class Prediction:
    """Probabilities (U, C) of the records' units, in order.

    probabilities: of the calibrated ensemble; uncalibrated: before the calibrator.
    by_model: model name -> mean over its members, not calibrated.
    levels: what a threshold is compared with to call a unit (``core.calling``).
    """

    probabilities: FloatArray  # (U, C)
    uncalibrated: FloatArray  # (U, C)
    by_model: Mapping[str, FloatArray]
    levels: FloatArray  # (U, C)


@dataclass(frozen=True)
class Bundle:
    """Opened by ``Bundle.load``; immutable."""

    directory: Path
    digest: str
    manifest: Manifest
    task: Task
    models: Mapping[str, tuple[LoadedMember, ...]]
    ensemble: Ensemble
    training_groups: IntArray  # (T,) uint64, sorted
    profile: Profile | None  # None in bundles of before
    uncertainty: Uncertainty | None  # likewise

    @staticmethod
    def load(directory: str | Path, threads: int = 1, device: Device = "cpu") -> Bundle:
        """Open the bundle in ``directory``, or in the folder of a run that is given instead.

        threads: cores one prediction may use. device: where networks run; ``cuda`` falls back to the CPU,
        with a warning, where onnxruntime has no CUDA.
        Raises BundleError naming the first file that is missing, altered, or not readable here.
        """
        root = bundle_folder(Path(directory).expanduser().resolve())
        check_files(root)
        manifest = read_file(
            root / MANIFEST, lambda path: Manifest.from_json(path.read_text(encoding="utf-8"))
        )
        task: Task = build(root / MANIFEST, manifest.task, manifest.task_settings, "ehrbench.tasks", Task)
        if task.target != manifest.target:
            raise BundleError(
                f"{root / MANIFEST}: target {manifest.target} is not that of {manifest.task}, {task.target}"
                " — use the version of ehrbench that exported it"
            )
        if len(manifest.thresholds) != manifest.target.n_classes:
            raise BundleError(
                f"{root / MANIFEST}: {len(manifest.thresholds)} thresholds for"
                f" {manifest.target.n_classes} classes"
            )
        models = {
            name: tuple(load_member(root, folder, manifest.target, threads, device) for folder in folders)
            for name, folders in manifest.models.items()
        }
        if not models or not all(models.values()):
            raise BundleError(f"{root / MANIFEST}: names no models, or one without members")
        return Bundle(
            directory=root,
            digest=file_digest(root / CHECKSUMS),  # the checksums stand for every other file
            manifest=manifest,
            task=task,
            models=models,
            ensemble=read_file(
                root / ENSEMBLE, lambda path: Ensemble.from_json(path.read_text(encoding="utf-8"))
            ),
            training_groups=read_file(root / TRAINING_GROUPS, lambda path: np.load(path, allow_pickle=False)),
            profile=_where_there(root / PROFILE, Profile.from_json),
            uncertainty=_where_there(
                root / UNCERTAINTY, lambda text: read_uncertainty(text, manifest.target)
            ),
        )

    @cached_property
    def threshold(self) -> FloatArray:
        """(C,) decision thresholds: a unit is called positive for a class at or above its threshold."""
        return np.asarray(self.manifest.thresholds, dtype=np.float64)

    @property
    def simulated(self) -> bool:
        """Whether the bundle was fitted on a simulated cohort."""
        return self.manifest.cohort == "simulated"

    def predict(self, records: Records) -> Prediction:
        """Probabilities of the records' units; large inputs go through in batches of whole records."""
        if records.total_units == 0:
            empty = np.zeros((0, self.manifest.target.n_classes))
            return Prediction(empty, empty, dict.fromkeys(self.models, empty), empty)
        parts = [self._predict(batch) for batch in _batches(records)]
        return Prediction(
            np.concatenate([part.probabilities for part in parts]),
            np.concatenate([part.uncalibrated for part in parts]),
            {name: np.concatenate([part.by_model[name] for part in parts]) for name in self.models},
            np.concatenate([part.levels for part in parts]),
        )

    def called(self, prediction: Prediction) -> BoolArray:
        """(U, C) which units are called positive."""
        return np.asarray(prediction.levels >= self.threshold)

    def parts(self, records: Records) -> dict[str, FloatArray]:
        """Folder of each member -> its probabilities (U, C) of the records' units."""
        records = records.cached()
        return {m.folder: m.predict(records) for members in self.models.values() for m in members}

    def _predict(self, records: Records) -> Prediction:
        parts = self.parts(records)
        by_model = {
            name: np.mean([parts[folder] for folder in folders], axis=0)
            for name, folders in self.manifest.models.items()
        }
        scores = {name: self.manifest.target.scores(p) for name, p in by_model.items()}
        uncalibrated = self.ensemble.combiner.predict(scores)
        probabilities = self.ensemble.calibrator.apply(uncalibrated)
        levels = self.manifest.calling.levels(probabilities, records.n_units)
        return Prediction(probabilities, uncalibrated, by_model, levels)

    def seen(self, records: Records) -> BoolArray:
        """(N,) whether a record's group was among those the procedure was fitted or selected on."""
        return np.isin(group_hashes(self.manifest.salt, records.groups.tolist()), self.training_groups)

    def self_test(self) -> float:
        """Predict the task's example and compare with what the training code said of it at the export.

        Returns the largest absolute difference of any member, of the ensemble before its calibrator, and of
        the probability; BundleError naming the first above ``PARITY``, or where there is no reference.
        """
        path, reference = self.directory / MANIFEST, self.manifest.reference
        if "probability" not in reference:
            raise BundleError(f"{path}: no reference probability to test against — export the bundle again")
        example = self.task.parse([self.task.example()], strict=True).records
        prediction = self.predict(example)
        said: dict[str, tuple[object, FloatArray]] = {}
        if "members" in reference:  # not in bundles of before
            parts = self.parts(example)
            said = {folder: (reference["members"].get(folder), p) for folder, p in parts.items()}
            said["ensemble"] = reference.get("uncalibrated"), prediction.uncalibrated
        said["probability"] = reference["probability"], prediction.probabilities
        differences = [_difference(path, name, *pair) for name, pair in said.items()]
        return max(differences)


def _where_there(path: Path, reader: Callable[[str], T]) -> T | None:
    """Of a file that bundles of before lack."""
    return read_file(path, lambda p: reader(p.read_text(encoding="utf-8"))) if path.is_file() else None


def _difference(path: Path, name: str, expected: object, got: FloatArray) -> float:
    """The largest difference from the reference; BundleError where it is too large."""
    wanted = np.asarray(expected, dtype=np.float64)
    if wanted.shape != got.shape:
        raise BundleError(
            f"{path}: the example's {name} has a reference of shape {wanted.shape}, not {got.shape} — "
            "export the bundle again"
        )
    difference = float(np.abs(wanted - got).max(initial=0.0))
    if not difference <= PARITY:
        raise BundleError(
            f"{path}: the example's {name} differs by {difference:.2g} from the exporting machine's"
            " — install the package versions it names"
        )
    return difference


def _batches(records: Records) -> list[Records]:
    """Whole records, about ``BATCH_UNITS`` units a batch."""
    if records.total_units <= BATCH_UNITS:
        return [records]
    number = (np.cumsum(records.n_units) - records.n_units) // BATCH_UNITS
    return [records.take(np.flatnonzero(number == k)) for k in np.unique(number)]
