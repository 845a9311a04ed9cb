"""Small bundles made by hand from real parts: a linear model, trees trained by LightGBM, an ONNX graph."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import lightgbm
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ehrbench.core.bundle import (
    CONFIG,
    ENSEMBLE,
    MANIFEST,
    PROFILE,
    TRAINING_GROUPS,
    UNCERTAINTY,
    Manifest,
    group_hashes,
    write_checksums,
)
from ehrbench.core.featurizer import Featurizer
from ehrbench.core.model import Member, save_arrays
from ehrbench.core.profile import profile
from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.task import Task
from ehrbench.core.types import FloatArray
from ehrbench.ensemble import Ensemble
from ehrbench.ensemble.uncertainty import fit_uncertainty, write_uncertainty

SALT = "salt-of-the-tests"


def export_linear(
    folder: Path, featurizer: Featurizer, records: Records, y: FloatArray, target: Target
) -> str:
    """Least squares on the view's values."""
    values = featurizer.transform(records).arrays()["values"].astype(np.float64)
    design = np.c_[values, np.ones(len(values))]
    solution = np.linalg.lstsq(design, 4 * y - 2, rcond=1e-6)[0]  # (F+1, C)
    save_arrays(folder / "model.npz", {"coefficient": solution[:-1], "intercept": solution[-1]})
    return "linear"


def export_trees(
    folder: Path, featurizer: Featurizer, records: Records, y: FloatArray, target: Target
) -> str:
    """A few trees; one booster a label for multi-label."""
    values = featurizer.transform(records).arrays()["values"]
    several = target.kind == "multiclass"
    objective = (
        {"objective": "multiclass", "num_class": target.n_classes} if several else {"objective": "binary"}
    )
    settings = {**objective, "num_leaves": 7, "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 5}
    labels = [y.argmax(axis=1)] if several else list(y.T)
    names = ["model.txt"] if len(labels) == 1 else [f"model.{c}.txt" for c in range(len(labels))]
    for name, label in zip(names, labels, strict=True):
        booster = lightgbm.train(settings, lightgbm.Dataset(values, label), num_boost_round=12)
        booster.save_model(folder / name)
    return "lightgbm"


def export_network(
    folder: Path, featurizer: Featurizer, records: Records, y: FloatArray, target: Target
) -> str:
    """scores = mean over steps of (values · mask) @ W + static @ V + b, with weights drawn at random."""
    arrays = featurizer.transform(records).arrays()
    n_channels, n_static = arrays["values"].shape[2], arrays["static"].shape[1]
    rng, classes = np.random.default_rng(3), target.n_classes
    weights = {
        "W": rng.normal(size=(n_channels, classes)).astype(np.float32),
        "b": rng.normal(size=classes).astype(np.float32),
        "V": (rng.normal(size=(n_static, classes)) / 100).astype(np.float32),
    }
    nodes = [
        helper.make_node("Mul", ["values", "mask"], ["seen"]),
        helper.make_node("ReduceMean", ["seen"], ["pooled"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["pooled", "W"], ["dynamic"]),
        helper.make_node("MatMul", ["static", "V"], ["fixed"]),
        helper.make_node("Sum", ["dynamic", "fixed", "b"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [
            helper.make_tensor_value_info("values", TensorProto.FLOAT, ["U", "L", n_channels]),
            helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["U", "L", n_channels]),
            helper.make_tensor_value_info("static", TensorProto.FLOAT, ["U", n_static]),
        ],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["U", classes])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, folder / "model.onnx")
    return "onnx"


Export = Callable[[Path, Featurizer, Records, FloatArray, Target], str]
#: How a member is made: its export, a maker of its featurizer, and the featurizer's import path.
Recipe = tuple[Export, Callable[[], Featurizer], str]


def build_bundle(
    directory: Path,
    *,
    task: Task,
    task_path: str,
    task_settings: dict[str, object],
    records: Records,
    y: FloatArray,
    models: dict[str, list[Recipe]],
    cohort: str = "publisher",
) -> Path:
    """Fit featurizers and models, combine them with the real ensemble, and write it all as the spine does.

    models: name -> members.
    """
    from ehrbench.runtime import Bundle

    folders: dict[str, list[str]] = {}
    for name, members in models.items():
        for k, (export, make, path) in enumerate(members):
            folder = directory / "members" / name / str(k)
            folder.mkdir(parents=True)
            featurizer = make().fit(records)
            runner = export(folder, featurizer, records, y, task.target)
            save_arrays(folder / "featurizer.npz", featurizer.state())
            member = Member(runner, path, featurizer.settings())
            (folder / "member.json").write_text(json.dumps(asdict(member)))
            folders.setdefault(name, []).append(folder.relative_to(directory).as_posix())
    manifest = Manifest(
        study_name="by-hand",
        task=task_path,
        task_settings=task_settings,
        target=task.target,
        models=folders,
        thresholds=[0.3] * task.target.n_classes,
        threshold_rule="fixed: 0.3",
        cohort=cohort,
        data_digest="d" * 64,
        data_sets=["a"],
        protocol="nested",
        salt=SALT,
        git_commit="c" * 40,
        created="2026-01-02T03:04:05Z",
        seed=7,
        metrics={"auroc": {"mean": 0.812, "interval": {"low": 0.79, "high": 0.834, "level": 0.95}}},
        versions={"numpy": np.__version__},
    )
    np.save(directory / TRAINING_GROUPS, np.sort(np.unique(group_hashes(SALT, records.groups.tolist()))))
    (directory / CONFIG).write_text("study_name: by-hand\n")
    rng = np.random.default_rng(5)
    noisy = {name: task.target.scores(0.1 + 0.8 * y) + rng.normal(size=y.shape) * 2 for name in models}
    fold = np.arange(len(y)) % 5
    ensemble = Ensemble().fit(noisy, y, target=task.target, fold=fold, seed=11)
    (directory / ENSEMBLE).write_text(ensemble.to_json())
    owner = records.groups[records.unit_record].astype(str)
    doubt = fit_uncertainty(task.target, ensemble.out_of_fold, y, owner)
    (directory / UNCERTAINTY).write_text(write_uncertainty(doubt))
    risks = 0.1 + 0.8 * rng.random(y.shape)
    described = profile(task.describe(records), records.groups.astype(str), risks, owner, task.target)
    (directory / PROFILE).write_text(described.to_json())
    return seal(directory, manifest, reference=lambda: Bundle.load(directory))


def seal(directory: Path, manifest: Manifest, reference: Callable[[], object] | None = None) -> Path:
    """Write manifest and checksums; with ``reference`` also what the bundle gives for the task's example."""
    (directory / MANIFEST).write_text(manifest.to_json())
    write_checksums(directory)
    if reference is None:
        return directory
    bundle = reference()
    example = bundle.task.parse([bundle.task.example()], strict=True).records  # type: ignore[attr-defined]
    expected = bundle.predict(example).probabilities.tolist()  # type: ignore[attr-defined]
    return seal(directory, replace(manifest, reference={"probability": expected}))
