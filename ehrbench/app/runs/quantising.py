"""Quantising: a run's bundle with its networks in int8, where that costs no more than was allowed.

Weights become int8 once, activations as they pass (ONNX Runtime's dynamic quantisation; matrix products and
LSTM cells; other operators stay as they are). What it costs is asked of records that no member was fitted
on: each inner fold's held-out records by that fold's members, before and after, and the ensemble of them, as
the search judged its trials. Of a bundle that was refitted on all records there are none such; its own
training records are taken, and said to be. No network may lose more than allowed, nor the ensemble, which may
hardly listen to one; else nothing is written.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ehrbench import metrics
from ehrbench.app.runs.finished import wire_run
from ehrbench.app.wired.wiring import Wired
from ehrbench.core.bundle import MANIFEST, Manifest, write_checksums
from ehrbench.core.errors import BundleError, ConfigError
from ehrbench.core.progress import Progress
from ehrbench.core.records import Records
from ehrbench.core.run_folder import RunFolder
from ehrbench.core.types import FloatArray
from ehrbench.runtime.bundle import Bundle
from ehrbench.spine.parity import combined
from ehrbench.spine.procedure import ENSEMBLE_NAME

#: Records that are timed, at once and one by one.
TIMED = 64
METRIC = "auroc"


def quantise(run: RunFolder, target: Path, most_loss: float, progress: Progress) -> dict[str, Any]:
    """Write the int8 bundle to the folder ``target``; what its manifest says of it under ``quantised``.

    most_loss: of AUROC, of the ensemble and of each model. Raises BundleError where one loses more, or where
        there is no network.
    """
    if not 0 <= most_loss < 1:
        raise ConfigError("--most-loss", f"{most_loss} is no loss of AUROC", "give 0 or more, below 1")
    wired, plain = wire_run(run, progress), Bundle.load(run.bundle)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as folder:
        work = Path(folder) / "bundle"
        shutil.copytree(plain.directory, work)
        with progress.step("int8"):
            graphs = _in_int8(work, plain)
        write_checksums(work)
        int8 = Bundle.load(work)
        with progress.step("its loss"):
            found = _compared(wired, plain, int8) | {"metric": METRIC, "most_loss": most_loss}
            found["graph_bytes"] = {name: [before, after] for name, (before, after) in graphs.items()}
        if not found["loss"] <= most_loss:
            raise BundleError(
                f"{run.bundle}: int8 costs up to {found['loss']:.4f} of {METRIC} ({_told(found)}), and "
                f"{most_loss:g} is the most — keep the plain one, or allow more (--most-loss)"
            )
        manifest = dataclasses.replace(plain.manifest, quantised=found)
        _speak_for_itself(work, manifest, plain, int8, wired)
        Bundle.load(work).self_test()
        shutil.move(work, target)
    return found


def _told(found: Mapping[str, Any]) -> str:
    pairs = {ENSEMBLE_NAME: (found["plain"], found["int8"]), **found["models"]}
    return ", ".join(f"{name} {a:.4f} to {b:.4f}" for name, (a, b) in pairs.items() if a != b)


def _in_int8(work: Path, plain: Bundle) -> Mapping[str, tuple[int, int]]:
    """Quantise each graph in place; member folder -> bytes before and after."""
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    sizes = {}
    for members in plain.models.values():
        for member in members:
            path = work / member.folder / "model.onnx"
            if path.is_file():
                before, ready = path.stat().st_size, path.with_suffix(".ready")
                quant_pre_process(path, ready, skip_symbolic_shape=True)
                quantize_dynamic(ready, path, weight_type=QuantType.QInt8)
                ready.unlink()
                sizes[member.folder] = before, path.stat().st_size
    if not sizes:
        raise BundleError(f"{plain.directory}: holds no network to quantise — export it as it is")
    return sizes


def _compared(wired: Wired, plain: Bundle, int8: Bundle) -> dict[str, Any]:
    """AUROC of both, mean over inner folds, by model and of the ensemble; CPU time and bytes of both."""
    search, fold = wired.search, wired.search.split.final
    held_out = all(len(f) == len(fold.inner) for f in plain.manifest.models.values())
    asked = [(k, inner.valid) for k, inner in enumerate(fold.inner)] if held_out else [(None, fold.train)]
    metric, values = metrics.load(METRIC), []
    for k, index in asked:
        records = search.dataset.open(fold, "calibrate", index)
        said = [_said(one, records.without_labels(), k) for one in (plain, int8)]
        values.append(
            [{m: metric(records.labels, p, target=search.target) for m, p in s.items()} for s in said]
        )
    mean = [{m: float(np.mean([v[i][m] for v in values])) for m in values[0][i]} for i in (0, 1)]
    some = search.dataset.open(fold, "calibrate", fold.train[:TIMED]).without_labels()
    return {
        "plain": mean[0][ENSEMBLE_NAME],
        "int8": mean[1][ENSEMBLE_NAME],
        "loss": max(mean[0][m] - mean[1][m] for m in mean[0]),
        "models": {m: [mean[0][m], mean[1][m]] for m in plain.manifest.models},
        "n_records": len(np.unique(np.concatenate([index for _, index in asked]))),
        "held_out": held_out,
        "milliseconds": [_milliseconds(one, some) for one in (plain, int8)],
    }


def _said(bundle: Bundle, records: Records, k: int | None) -> dict[str, FloatArray]:
    """Model and ensemble -> (U, C) of the k-th member of each; None: of all of them."""
    records = records.cached()
    chosen = {name: m if k is None else m[k : k + 1] for name, m in bundle.models.items()}
    parts = {m.folder: m.predict(records) for members in chosen.values() for m in members}
    folders = {name: [m.folder for m in members] for name, members in chosen.items()}
    whole = combined(bundle.ensemble, parts, folders, bundle.manifest.target)
    by_model = {name: np.mean([parts[f] for f in these], axis=0) for name, these in folders.items()}
    return by_model | {ENSEMBLE_NAME: whole}


def _milliseconds(bundle: Bundle, records: Records) -> float:
    """CPU a record, predicted alone, the quickest of three rounds."""
    alone = [records.take(np.array([n])) for n in range(len(records))]
    rounds = []
    for _ in range(3):
        began = time.process_time()
        for one in alone:
            bundle.predict(one)
        rounds.append(time.process_time() - began)
    return 1000 * min(rounds) / len(alone)


def _speak_for_itself(work: Path, manifest: Manifest, plain: Bundle, int8: Bundle, wired: Wired) -> None:
    """Its own words for the example, and how far it is from the models by way of the plain bundle."""
    example = plain.task.parse([plain.task.example()], strict=True).records
    fold = wired.search.split.final
    probe = wired.search.dataset.open(fold, "calibrate", fold.train[:TIMED]).without_labels()
    prediction = int8.predict(example)
    reference = {
        "probability": prediction.probabilities.tolist(),
        "uncalibrated": prediction.uncalibrated.tolist(),
        "members": {folder: p.tolist() for folder, p in int8.parts(example).items()},
    }
    before, after = plain.parts(probe), int8.parts(probe)
    apart = {folder: float(np.abs(before[folder] - after[folder]).max()) for folder in before}
    whole = np.abs(plain.predict(probe).uncalibrated - int8.predict(probe).uncalibrated).max()
    parity = {"n_records": len(probe), "limit": None, "ensemble": float(whole), "members": apart}
    manifest = dataclasses.replace(manifest, reference=reference, parity=parity)
    (work / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    write_checksums(work)
