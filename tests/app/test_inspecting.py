"""``ehrbench bundle inspect | verify | diff`` on bundles that a tiny search wrote."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ehrbench.app.command.cli import main
from ehrbench.core.bundle import write_checksums
from ehrbench.core.model import load_arrays, save_arrays


def said(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    assert main(["bundle", *map(str, arguments)]) == code
    out, error = capsys.readouterr()
    assert max(map(len, out.splitlines()), default=0) <= 80
    return error if code else out


def test_inspect_tells_members_sizes_opsets_and_checksums(run, capsys):
    out = said(capsys, "inspect", run)
    assert "members/mlp/0" in out
    assert "written within" in out
    found = json.loads(said_json(capsys, "inspect", run))
    members = {one["folder"]: one for one in found["members"]}
    assert members["members/mlp/0"]["opsets"] == {"ai.onnx": 18}
    assert members["members/lightgbm/0"]["opsets"] == {}
    for folder, one in members.items():
        files = [f for name, f in found["files"].items() if name.startswith(f"{folder}/")]
        assert one["bytes"] == sum(f["bytes"] for f in files) > 0
        assert one["parity"] <= 1e-5
    assert (
        found["bytes"]
        == sum(path.stat().st_size for path in (run / "bundle").rglob("*") if path.is_file())
        - (run / "bundle" / "checksums.json").stat().st_size
    )
    assert found["metrics"]["auroc"]["low"] < found["metrics"]["auroc"]["mean"]


def said_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["bundle", *map(str, arguments), "--json"]) == 0
    return capsys.readouterr().out


def test_verify_asks_every_member_again(run, tmp_path, capsys):
    assert "each member and the ensemble within" in said(capsys, "verify", run)
    assert json.loads(said_json(capsys, "verify", run))["example"] <= 1e-5
    other = Path(shutil.copytree(run / "bundle", tmp_path / "bundle"))
    path = other / "members/logistic/1/model.npz"
    arrays = load_arrays(path)
    save_arrays(path, arrays | {"intercept": arrays["intercept"] + np.float64(1e-4)})
    assert "model.npz: altered since export" in said(capsys, "verify", other, code=2)
    write_checksums(other)  # well sealed, and still not what was exported
    assert "the example's members/logistic/1 differs by" in said(capsys, "verify", other, code=2)


def test_diff_tells_what_differs_and_nothing_else(run, tmp_path, capsys):
    assert said(capsys, "diff", run, run / "bundle").startswith("the two are one ")
    other = Path(shutil.copytree(run / "bundle", tmp_path / "bundle"))
    path = other / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"seed": 99, "thresholds": [0.75]}))
    write_checksums(other)
    found = {one["what"]: (one["a"], one["b"]) for one in json.loads(said_json(capsys, "diff", run, other))}
    assert found.pop("seed") == (manifest["seed"], 99)
    assert found.pop("thresholds") == (manifest["thresholds"], [0.75])
    assert {name.partition(".")[0] for name in found} == {"version", "bytes", "files"}
    out = said(capsys, "diff", run, other)
    assert "files           manifest.json" in out
