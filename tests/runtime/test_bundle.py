"""Bundles: what they predict, what they refuse, and what they never import."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ehrbench.core.bundle import MANIFEST, TRAINING_GROUPS, Manifest, file_digest, write_checksums
from ehrbench.core.errors import BundleError
from ehrbench.core.records import Records
from ehrbench.core.task import RawInput
from ehrbench.core.views import View
from ehrbench.runtime import Bundle
from ehrbench.runtime import bundle as bundle_module
from tests.runtime import toy
from tests.runtime.building import seal
from tests.runtime.conftest import cohort


def test_prediction_of_every_target_kind(any_bundle: Path) -> None:
    bundle = Bundle.load(any_bundle)
    target = bundle.manifest.target
    records, _ = cohort(target.kind)
    got = bundle.predict(records)
    assert set(got.by_model) == {"trees", "line", "net"}
    for p in (got.probabilities, got.uncalibrated, *got.by_model.values()):
        assert p.shape == (records.total_units, target.n_classes)
        assert ((p >= 0) & (p <= 1)).all()
        if target.kind == "multiclass":
            np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)
    scores = {name: target.scores(p) for name, p in got.by_model.items()}
    np.testing.assert_array_equal(got.probabilities, bundle.ensemble.predict(scores))


def test_a_model_is_the_mean_of_its_members(bundle_dir: Path) -> None:
    bundle = Bundle.load(bundle_dir)
    manifest = bundle.manifest
    records, _ = cohort("binary")
    parts = [member.predict(records) for member in bundle.models["trees"]]
    np.testing.assert_array_equal(bundle.predict(records).by_model["trees"], np.mean(parts, axis=0))
    assert len(manifest.models["trees"]) == 2


def test_batches_change_nothing(any_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.load(any_bundle)
    records, _ = cohort(bundle.manifest.target.kind)
    whole = bundle.predict(records).probabilities
    monkeypatch.setattr(bundle_module, "BATCH_UNITS", 7)
    largest = 0
    rows = toy.ToyTable.rows

    def watched(self: toy.ToyTable, records: Records) -> View:
        nonlocal largest
        largest = max(largest, len(records))
        return rows(self, records)

    monkeypatch.setattr(toy.ToyTable, "rows", watched)
    np.testing.assert_allclose(bundle.predict(records).probabilities, whole, atol=1e-6)
    assert 0 < largest <= 8  # no batch's view was computed for the whole cohort


def test_members_with_one_key_share_rows(bundle_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, calls, rows = Bundle.load(bundle_dir), [], toy.ToyTable.rows

    def counted(self: toy.ToyTable, records: Records) -> View:
        calls.append(self.complete)
        return rows(self, records)

    monkeypatch.setattr(toy.ToyTable, "rows", counted)
    bundle.predict(cohort("binary")[0])
    assert sorted(calls) == [False, True]  # two tree members, one view


def test_no_records(bundle_dir: Path) -> None:
    bundle = Bundle.load(bundle_dir)
    got = bundle.predict(cohort("binary")[0].take(np.zeros(0, dtype=int)))
    assert got.probabilities.shape == (0, 1)


def test_self_test(any_bundle: Path) -> None:
    assert Bundle.load(any_bundle).self_test() <= 1e-5


@pytest.mark.parametrize(("shift", "fails"), [(5e-6, False), (2e-5, True)])
def test_self_test_finds_another_probability(bundle_dir: Path, shift: float, fails: bool) -> None:
    manifest = Manifest.from_json((bundle_dir / MANIFEST).read_text())
    expected = manifest.reference["probability"][0][0] + shift
    seal(bundle_dir, replace(manifest, reference={"probability": [[expected]]}))
    bundle = Bundle.load(bundle_dir)
    if fails:
        with pytest.raises(BundleError, match="example's probability differs by 2e-05"):
            bundle.self_test()
    else:
        assert bundle.self_test() == pytest.approx(shift, rel=1e-3)


def test_self_test_without_a_reference(bundle_dir: Path) -> None:
    manifest = Manifest.from_json((bundle_dir / MANIFEST).read_text())
    seal(bundle_dir, replace(manifest, reference={}))
    with pytest.raises(BundleError, match=r"manifest\.json: no reference probability"):
        Bundle.load(bundle_dir).self_test()


def test_seen(bundle_dir: Path) -> None:
    bundle = Bundle.load(bundle_dir)
    records = toy.toy_records([np.zeros((1, 3), np.float32)] * 3, ["p3", "stranger", "p119"])
    assert bundle.seen(records).tolist() == [True, False, True]
    assert bundle.threshold.tolist() == [0.3]


def test_moved_and_read_from_elsewhere(
    bundle_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records, _ = cohort("binary")
    before = Bundle.load(bundle_dir)
    expected = before.predict(records).probabilities
    moved = Path(shutil.move(bundle_dir, tmp_path / "else where"))
    np.testing.assert_array_equal(before.predict(records).probabilities, expected)  # no path is kept open
    monkeypatch.chdir(moved.parent)
    after = Bundle.load(moved.name)
    assert after.digest == before.digest
    np.testing.assert_array_equal(after.predict(records).probabilities, expected)


def rewrite(path: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    """Change a JSON file and seal the bundle again: a well-sealed bundle may still be wrong."""

    def damage(directory: Path) -> None:
        content = json.loads((directory / path).read_text())
        change(content)
        (directory / path).write_text(json.dumps(content))
        write_checksums(directory)

    return damage


def replaced(path: str, content: bytes) -> Callable[[Path], object]:
    def damage(directory: Path) -> None:
        (directory / path).write_bytes(content)
        write_checksums(directory)

    return damage


def removed(path: str) -> Callable[[Path], object]:
    def damage(directory: Path) -> None:
        (directory / path).unlink()
        write_checksums(directory)

    return damage


MEMBER = "members/trees/0"
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "altered": (
        lambda d: (d / MEMBER / "model.txt").write_text("tree"),
        r"members/trees/0/model\.txt: altered since export",
    ),
    "missing": (lambda d: (d / MANIFEST).unlink(), r"manifest\.json: missing"),
    "extra": (lambda d: (d / "notes.txt").write_text("x"), r"notes\.txt: not part of the bundle"),
    "no checksums": (lambda d: (d / "checksums.json").unlink(), r"checksums\.json: cannot be read"),
    "checksums no text": (
        lambda d: (d / "checksums.json").write_bytes(b"\xff\xfe"),
        r"checksums\.json: cannot",
    ),
    "checksums a list": (lambda d: (d / "checksums.json").write_text("[1]"), r"checksums\.json: cannot"),
    "manifest cut": (replaced(MANIFEST, b'{"format": 1,'), r"manifest\.json: cannot be read"),
    "manifest a list": (replaced(MANIFEST, b"[]"), r"manifest\.json: cannot be read"),
    "manifest no text": (replaced(MANIFEST, b"\xff\xfe"), r"manifest\.json: cannot be read"),
    "format": (rewrite(MANIFEST, lambda m: m.update(format=99)), r"manifest\.json: format 99 is not 1"),
    "key missing": (rewrite(MANIFEST, lambda m: m.pop("salt")), r"manifest\.json: cannot be read.*salt"),
    "kind": (
        rewrite(MANIFEST, lambda m: m["target"].update(kind="odd")),
        r"manifest\.json: cannot be read.*odd",
    ),
    "thresholds": (rewrite(MANIFEST, lambda m: m.update(thresholds=[])), r"0 thresholds for 1 classes"),
    "no models": (rewrite(MANIFEST, lambda m: m.update(models={})), r"manifest\.json: names no models"),
    "target": (
        rewrite(MANIFEST, lambda m: m["task_settings"].update(kind="multilabel")),
        r"manifest\.json: target .* is not that of",
    ),
    "task settings": (
        rewrite(MANIFEST, lambda m: m.update(task_settings={"colour": 1})),
        r"does not take these settings",
    ),
    "task elsewhere": (
        rewrite(MANIFEST, lambda m: m.update(task="os.system")),
        r"'os\.system' does not lie under",
    ),
    "task by a trick": (
        rewrite(MANIFEST, lambda m: m.update(task="ehrbench.tasks_evil.Task")),
        r"does not lie under ehrbench\.tasks",
    ),
    "task dotted up": (
        rewrite(MANIFEST, lambda m: m.update(task="ehrbench.tasks..os.system")),
        r"does not lie under ehrbench\.tasks",
    ),
    "task unknown": (
        rewrite(MANIFEST, lambda m: m.update(task="ehrbench.tasks.toy.Gone")),
        r"ehrbench\.tasks\.toy\.Gone cannot be imported",
    ),
    "not a task": (
        rewrite(MANIFEST, lambda m: m.update(task="ehrbench.tasks.toy.NotATask")),
        r"NotATask is not a Task",
    ),
    "member outside": (
        rewrite(MANIFEST, lambda m: m["models"].update(trees=["members/../../x"])),
        r"does not lie under members/",
    ),
    "member folder gone": (
        rewrite(MANIFEST, lambda m: m["models"].update(trees=["members/trees/9"])),
        r"members/trees/9/member\.json: missing",
    ),
    "member.json": (
        rewrite(f"{MEMBER}/member.json", lambda m: m.pop("runner")),
        r"trees/0/member\.json: cannot be read.*runner",
    ),
    "featurizer elsewhere": (
        rewrite(f"{MEMBER}/member.json", lambda m: m.update(featurizer="ehrbench.tasks.toy.ToyTable")),
        r"does not lie under ehrbench\.features",
    ),
    "runner": (rewrite(f"{MEMBER}/member.json", lambda m: m.update(runner="pickle")), r"runner 'pickle'"),
    "featurizer state": (
        replaced(f"{MEMBER}/featurizer.npz", b"PK\x03\x04"),
        r"featurizer\.npz: cannot be read",
    ),
    "featurizer pickled": (
        replaced(f"{MEMBER}/featurizer.npz", b"\x80\x04K\x01."),
        r"featurizer\.npz: cannot be read",
    ),
    "featurizer gone": (removed(f"{MEMBER}/featurizer.npz"), r"featurizer\.npz: missing"),
    "trees gone": (removed(f"{MEMBER}/model.txt"), r"trees/0/model\.txt: missing"),
    "trees no trees": (
        replaced(f"{MEMBER}/model.txt", b"not a tree\n"),
        r"model\.txt: LightGBM cannot use it",
    ),
    "network gone": (removed("members/net/0/model.onnx"), r"model\.onnx: onnxruntime cannot load it"),
    "network cut": (
        replaced("members/net/0/model.onnx", b"\x08\x07"),
        r"model\.onnx: onnxruntime cannot load",
    ),
    "line cut": (replaced("members/line/0/model.npz", b""), r"model\.npz: cannot be read"),
    "ensemble cut": (replaced("ensemble.json", b"{}"), r"ensemble\.json: cannot be read"),
    "groups cut": (replaced(TRAINING_GROUPS, b"\x93NUMPY"), r"training_groups\.npy: cannot be read"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_bundle_is_refused_and_the_file_named(bundle_dir: Path, damage: str) -> None:
    toy.install()
    do, message = DAMAGES[damage]
    do(bundle_dir)
    with pytest.raises(BundleError, match=message) as caught:
        Bundle.load(bundle_dir)
    assert "\n" not in str(caught.value)
    assert str(bundle_dir) in str(caught.value)


def test_a_runs_folder_stands_for_the_bundle_inside(bundle_dir: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(bundle_dir, run / "bundle")
    (run / "summary.json").write_text("{}")
    (run / "checksums.json").write_text(json.dumps({"summary.json": file_digest(run / "summary.json")}))
    assert Bundle.load(run).directory == (run / "bundle").resolve()
    assert Bundle.load(run).digest == Bundle.load(bundle_dir).digest


def test_what_is_no_part_of_a_bundle_is_moved_and_not_destroyed(bundle_dir: Path) -> None:
    (bundle_dir / "notes.txt").write_text("x")
    with pytest.raises(
        BundleError, match=r"notes\.txt: not part of the bundle — move it elsewhere"
    ) as caught:
        Bundle.load(bundle_dir)
    assert "remove" not in str(caught.value)


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nowhere: no such folder"):
        Bundle.load(tmp_path / "nowhere")


def test_predicting_imports_no_training_code(bundle_dir: Path) -> None:
    """In a fresh interpreter, so that this process's imports do not count."""
    program = (
        "import sys; from tests.runtime import toy; toy.install()\n"
        "from ehrbench.runtime import Bundle\n"
        f"b = Bundle.load({str(bundle_dir)!r}); b.self_test()\n"
        "heavy = {'torch', 'sklearn', 'lightgbm', 'pandas', 'optuna',"
        " 'hydra', 'mlflow', 'sqlalchemy', 'fastapi', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_a_posted_record_and_an_offline_one_are_the_same(bundle_dir: Path) -> None:
    bundle = Bundle.load(bundle_dir)
    as_json = RawInput("x", {"id": "p7", "rows": [[0.5, None, -1.0]]})
    parsed = [bundle.task.parse([raw], strict=True).records for raw in (as_json, bundle.task.example())]
    one, other = (bundle.predict(records).probabilities for records in parsed)
    np.testing.assert_array_equal(one, other)
