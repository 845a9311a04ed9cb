"""The bundle's layout and manifest: written by the spine, run by the runtime.

    bundle/
        manifest.json            this module's ``Manifest``
        checksums.json           file -> SHA-256 of every other file
        config.yaml              the resolved configuration that made it
        training_groups.npy      (T,) uint64, sorted: ``group_hashes`` of every group the procedure has seen
        ensemble.json            the combiner and the calibrator, as ``ehrbench.ensemble`` writes them
        profile.json             what the training records looked like, as counts (``core.profile``)
        uncertainty.json         between what a probability lies, or which classes cannot be ruled out
        MODEL_CARD.md            the same for people, as ``ehrbench.report`` writes it
        model_card.json, .xml    the same for programs: HTI-1's source attributes, CHAI's applied model card
        members/<model>/<k>/     member.json, featurizer.npz, and model.onnx, model.txt or model.npz

A model's probability is the mean over its members k; the ensemble combines the models, then calibrates.
No pickle anywhere: a bundle can be read, diffed and checked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ehrbench.core.calling import Calling
from ehrbench.core.errors import BundleError
from ehrbench.core.files import CHECKSUMS
from ehrbench.core.run_folder import BUNDLE
from ehrbench.core.target import Target
from ehrbench.core.types import IntArray

FORMAT = 1
MANIFEST, CONFIG = "manifest.json", "config.yaml"
TRAINING_GROUPS, ENSEMBLE, MEMBERS = "training_groups.npy", "ensemble.json", "members"
PROFILE, UNCERTAINTY = "profile.json", "uncertainty.json"
#: How far a member's probability, or the ensemble's before its calibrator, may lie from the training code's.
PARITY = 1e-5


@dataclass(frozen=True)
class Manifest:
    """What a bundle says of itself.

    task: import path of the class under ``ehrbench.tasks``, and its settings.
    models: model name -> folders of its members, relative to the bundle.
    target: its ``unscored`` classes no metric below counts.
    thresholds: (C,) decision thresholds, one a class; threshold_rule says how they were chosen.
    calling: how calls are mended along a record, before the threshold.
    metrics: metric -> {"mean", "interval", "interval_procedure", ...} as ``summary.json`` has them for the
        ensemble under the search's protocol.
    reference: what the training code says of one raw record, ``Task.example``, a self-test of the installed
        bundle: {"probability": [[...]], "uncalibrated": [[...]], "members": {folder: [[...]]}}.
    parity: the largest difference between training code and bundle, seen at the export on training records:
        {"n_records", "limit", "ensemble": before its calibrator, "members": {folder: ...}}; {}: never seen.
    quantised: of a bundle whose networks are in int8, what that costs (``ehrbench bundle export --int8``):
        {"metric", "plain", "int8", "loss", "most_loss", "models", "milliseconds": [plain, int8], ...}.
    """

    study_name: str
    task: str
    task_settings: dict[str, Any]
    target: Target
    models: dict[str, list[str]]
    thresholds: list[float]
    threshold_rule: str
    cohort: str
    data_digest: str
    data_sets: list[str]
    protocol: str
    salt: str
    git_commit: str
    created: str  # ISO 8601, UTC
    seed: int
    metrics: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    reference: dict[str, Any] = field(default_factory=dict)
    parity: dict[str, Any] = field(default_factory=dict)
    quantised: dict[str, Any] = field(default_factory=dict)
    calling: Calling = field(default_factory=Calling)
    format: int = FORMAT

    def to_json(self) -> str:
        """The content of ``manifest.json``; ValueError for a NaN in it."""
        return json.dumps(asdict(self), indent=2, sort_keys=True, allow_nan=False)

    @staticmethod
    def from_json(text: str) -> Manifest:
        """Raises BundleError for another format or missing keys."""
        try:
            raw = json.loads(text)
            if raw.get("format") != FORMAT:
                raise BundleError(
                    f"{MANIFEST}: format {raw.get('format')} is not {FORMAT} — export again with this version"
                )
            target = raw["target"]
            left_out = tuple(target.get("unscored", ()))
            raw["target"] = Target(target["kind"], tuple(target["classes"]), left_out)
            raw["calling"] = Calling(**raw.get("calling", {}))
            return Manifest(**raw)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BundleError(f"{MANIFEST}: cannot be read ({error}) — export the bundle again") from error


def bundle_folder(directory: Path) -> Path:
    """``directory``, or the bundle inside it where it is a run's folder."""
    inside = directory / BUNDLE
    return inside if not (directory / MANIFEST).exists() and (inside / MANIFEST).exists() else directory


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_checksums(directory: Path) -> None:
    """List every file of the bundle with its SHA-256; called last."""
    files = sorted(p for p in directory.rglob("*") if p.is_file() and p.name != CHECKSUMS)
    sums = {p.relative_to(directory).as_posix(): file_digest(p) for p in files}
    (directory / CHECKSUMS).write_text(json.dumps(sums, indent=2), encoding="utf-8")


def check_listed(directory: Path, sums: Mapping[str, str], missing: str, altered: str) -> None:
    """Raise BundleError naming the first file that is not there, or not of its SHA-256, and saying which."""
    for name, expected in sums.items():
        path = directory / name
        if not path.is_file():
            raise BundleError(f"{path}: {missing}")
        if file_digest(path) != expected:
            raise BundleError(f"{path}: {altered}")


def check_checksums(directory: Path) -> None:
    """Raise BundleError naming the first missing, altered or unlisted file. No remedy destroys a file."""
    try:
        sums: Mapping[str, str] = json.loads((directory / CHECKSUMS).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise BundleError(f"{directory / CHECKSUMS}: cannot be read — is {directory} a bundle?") from error
    missing = "missing — copy the bundle again, whole"
    check_listed(directory, sums, missing, "altered since export — copy the bundle again, or export it again")
    present = {p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file()} - {CHECKSUMS}
    if extra := sorted(present - set(sums)):
        raise BundleError(f"{directory / extra[0]}: not part of the bundle — move it elsewhere")


def group_hashes(salt: str, groups: Iterable[str]) -> IntArray:
    """(N,) uint64: first 8 bytes of SHA-256(salt + group). Tells whether a group is known, not who it is."""
    return np.array(
        [int.from_bytes(hashlib.sha256(f"{salt}{group}".encode()).digest()[:8], "big") for group in groups],
        dtype=np.uint64,
    )
