"""Bundling: writes the decided procedure as a directory that predicts on its own (see core.bundle)."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ehrbench.core.bundle import (
    CONFIG,
    ENSEMBLE,
    MANIFEST,
    MEMBERS,
    TRAINING_GROUPS,
    Manifest,
    group_hashes,
    write_checksums,
)
from ehrbench.core.errors import StorageError
from ehrbench.core.files import CHECKSUMS
from ehrbench.core.progress import Progress
from ehrbench.core.records import Records
from ehrbench.spine.procedure import ENSEMBLE_NAME, Decided
from ehrbench.spine.thresholds import GIVEN


def write_bundle(
    directory: Path,
    decided: Decided,
    manifest: Manifest,
    config: str,
    example: Records,
    refit: str,
    progress: Progress,
) -> None:
    """Write everything beside the target directory, then put it in place at once.

    manifest: complete but for models, thresholds and reference, which are filled in here; its threshold_rule
        is told which classes it could not be used on.
    example: the records of ``Task.example``; their probability becomes the bundle's self-test.
    """
    directory = directory.resolve()  # a link stays one
    directory.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        manifest = _write_members(work, decided, manifest, example, refit, progress)
        setting = decided.setting
        seen = setting.dataset.open(setting.fold, "fit", setting.fold.train)
        np.save(
            work / TRAINING_GROUPS, np.sort(np.unique(group_hashes(manifest.salt, seen.groups.astype(str))))
        )
        (work / ENSEMBLE).write_text(decided.ensemble.to_json(), encoding="utf-8")
        (work / CONFIG).write_text(config, encoding="utf-8")
        (work / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        write_checksums(work)
        work.chmod(0o755)
        _replace(work, directory)
    except OSError as error:
        raise StorageError(f"{directory}: cannot write the bundle ({error.strerror or error})") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _write_members(
    work: Path, decided: Decided, manifest: Manifest, example: Records, refit: str, progress: Progress
) -> Manifest:
    target, scores, models = manifest.target, {}, {}
    with progress.step("exporting members") as bar:
        for chosen in decided.chosen:
            parts, folders = [], []
            for number, model in enumerate(chosen.models(refit)):
                folder = work / MEMBERS / chosen.name / str(number)
                folder.mkdir(parents=True)
                member = model.export(folder)
                (folder / "member.json").write_text(json.dumps(asdict(member), indent=1), encoding="utf-8")
                folders.append(folder.relative_to(work).as_posix())
                parts.append(model.predict(example))
                bar.advance()
            models[chosen.name] = folders
            scores[chosen.name] = target.scores(np.mean(parts, axis=0))
    return dataclasses.replace(
        manifest,
        models=models,
        thresholds=decided.thresholds[ENSEMBLE_NAME].tolist(),
        calling=decided.calling[ENSEMBLE_NAME],
        threshold_rule=manifest.threshold_rule + _given(decided.given),
        reference={"probability": decided.ensemble.predict(scores).tolist()},
    )


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
