"""Bundling: writes the decided procedure as a directory that predicts on its own (see core.bundle)."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ehrbench.core.bundle import (
    CONFIG,
    ENSEMBLE,
    MANIFEST,
    MEMBERS,
    PROFILE,
    TRAINING_GROUPS,
    UNCERTAINTY,
    Manifest,
    group_hashes,
    write_checksums,
)
from ehrbench.core.errors import StorageError
from ehrbench.core.files import CHECKSUMS
from ehrbench.core.profile import profile
from ehrbench.core.progress import Progress
from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.task import Task
from ehrbench.core.types import FloatArray
from ehrbench.ensemble.uncertainty import fit_uncertainty, write_uncertainty
from ehrbench.spine.parity import Running, check_parity, combined
from ehrbench.spine.procedure import ENSEMBLE_NAME, Decided
from ehrbench.spine.thresholds import GIVEN

#: Training records, at most, on which a bundle must say what its models say.
PROBES = 50


def write_bundle(
    directory: Path,
    decided: Decided,
    manifest: Manifest,
    config: str,
    task: Task,
    refit: str,
    open_bundle: Callable[[Path], Running],
    progress: Progress,
) -> None:
    """Write everything beside the target directory, try it, then put it in place at once.

    manifest: complete but for models, thresholds, reference and parity, which are filled in here; its
        threshold_rule is told which classes it could not be used on.
    open_bundle: opens a folder as the server will. Raises BundleError, and leaves what stood in the
        directory, where what is opened says anything else than the models that were exported.
    """
    directory = directory.resolve()  # a link stays one
    directory.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        asked = _Asked(task.parse([task.example()], strict=True).records, _probe(decided))
        manifest, said = _write_members(work, decided, manifest, asked, refit, progress)
        setting = decided.setting
        seen = setting.dataset.open(setting.fold, "fit", setting.fold.train)
        np.save(
            work / TRAINING_GROUPS, np.sort(np.unique(group_hashes(manifest.salt, seen.groups.astype(str))))
        )
        _write_of_training_records(work, decided, task, manifest.target)
        (work / ENSEMBLE).write_text(decided.ensemble.to_json(), encoding="utf-8")
        (work / CONFIG).write_text(config, encoding="utf-8")
        _write_manifest(work, manifest)
        with progress.step("parity of the bundle"):
            running = open_bundle(work)
            parity = check_parity(running, asked.probe, said, decided.ensemble, manifest)
            _write_manifest(work, dataclasses.replace(manifest, parity=parity))
            running.self_test()
        work.chmod(0o755)
        _replace(work, directory)
    except OSError as error:
        raise StorageError(f"{directory}: cannot write the bundle ({error.strerror or error})") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _write_manifest(work: Path, manifest: Manifest) -> None:
    (work / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    write_checksums(work)


@dataclass(frozen=True)
class _Asked:
    """Records that both the exported models and the bundle made of them are asked about."""

    example: Records
    probe: Records


def _probe(decided: Decided) -> Records:
    """``PROBES`` training records, from all over them."""
    setting, train = decided.setting, decided.setting.fold.train
    some = train[np.unique(np.linspace(0, len(train) - 1, PROBES).astype(np.int64))]
    return setting.dataset.open(setting.fold, "fit", some).without_labels()


def _write_of_training_records(work: Path, decided: Decided, task: Task, target: Target) -> None:
    """What is kept of them: their profile, and how outcomes went with out-of-fold probabilities."""
    setting = decided.setting
    train = setting.dataset.open(setting.fold, "fit", setting.fold.train).without_labels()
    judged = setting.dataset.open(setting.fold, "calibrate", decided.index)
    risks = decided.out_of_fold[ENSEMBLE_NAME]
    owner = judged.groups[judged.unit_record].astype(str)
    found = profile(task.describe(train), train.groups.astype(str), risks, owner, target)
    (work / PROFILE).write_text(found.to_json(), encoding="utf-8")
    doubt = fit_uncertainty(target, risks, judged.labels, owner)
    (work / UNCERTAINTY).write_text(write_uncertainty(doubt), encoding="utf-8")


def _write_members(
    work: Path, decided: Decided, manifest: Manifest, asked: _Asked, refit: str, progress: Progress
) -> tuple[Manifest, dict[str, FloatArray]]:
    """The manifest with the members in it, and what each of them says of the probe, by folder."""
    target = manifest.target
    models: dict[str, list[str]] = {}
    of_example: dict[str, FloatArray] = {}
    of_probe: dict[str, FloatArray] = {}
    with progress.step("exporting members") as bar:
        for chosen in decided.combined:
            models[chosen.name] = []
            for number, model in enumerate(chosen.models(refit)):
                folder = work / MEMBERS / chosen.name / str(number)
                folder.mkdir(parents=True)
                member = model.export(folder)
                (folder / "member.json").write_text(json.dumps(asdict(member), indent=1), encoding="utf-8")
                name = folder.relative_to(work).as_posix()
                models[chosen.name].append(name)
                of_example[name], of_probe[name] = model.predict(asked.example), model.predict(asked.probe)
                bar.advance()
    uncalibrated = combined(decided.ensemble, of_example, models, target)
    reference = {
        "probability": decided.ensemble.calibrator.apply(uncalibrated).tolist(),
        "uncalibrated": uncalibrated.tolist(),
        "members": {name: p.tolist() for name, p in of_example.items()},
    }
    manifest = dataclasses.replace(
        manifest,
        models=models,
        thresholds=decided.thresholds[ENSEMBLE_NAME].tolist(),
        calling=decided.calling[ENSEMBLE_NAME],
        threshold_rule=manifest.threshold_rule + _given(decided.given),
        reference=reference,
    )
    return manifest, of_probe


def _given(classes: Mapping[str, str]) -> str:
    return f", {GIVEN:g} for {', '.join(classes)}" if classes else ""


def _replace(work: Path, directory: Path) -> None:
    """Put ``work`` in the place of ``directory``; what was there goes only once the new one stands."""
    old = directory.with_name(f".{directory.name}-old-{os.getpid()}")
    if directory.exists():
        if directory.is_dir() and any(directory.iterdir()) and not (directory / CHECKSUMS).exists():
            raise StorageError(
                f"{directory}: holds something that is no bundle — move it away or name another folder"
            )
        directory.rename(old)
    work.rename(directory)
    shutil.rmtree(old, ignore_errors=True)
