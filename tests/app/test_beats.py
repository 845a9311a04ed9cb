"""A whole search of simulated beats by command; its bundle predicts and is judged by the task's metrics."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np

from ehrbench.core.bundle import Manifest
from ehrbench.publishers.cardiospike import CardioSpike
from ehrbench.tasks.rr_rhythm import RRRhythm
from tests.app.processes import run


def test_beats_are_searched_predicted_and_scored(tmp_path: Path) -> None:
    data, others, runs = tmp_path / "data", tmp_path / "others", tmp_path / "runs"
    for folder, n_records, seed in ((data, 16, 1), (others, 4, 2)):
        CardioSpike(RRRhythm()).simulate(folder, n_records, seed)
    small = ["model.ssm.build.width=8", "model.ssm.build.n_layers=1", "model.ssm.build.max_epochs=1"]
    small += ["model.lightgbm.build.n_estimators=40", "model.ssm.space={}", "model.lightgbm.space={}"]
    small += ["task=rr_rhythm", "models=[lightgbm,ssm]", "protocol=smoke", "n_trials=1", "report.explained=2"]
    code, output = run("search.py", *small, f"runs_dir={runs}", "tracker=none", data=data)
    assert code == 0, output
    folder = runs / "rr_rhythm-smoke"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["models"]["ensemble"]["event_f1"]["mean"] > 0.3
    assert "recording" in (folder / "report.html").read_text()
    manifest = Manifest.from_json((folder / "bundle" / "manifest.json").read_text())
    (threshold,) = manifest.thresholds
    table = others / "cardiospike" / "train.csv"
    header, *lines = table.read_text().splitlines()
    lines = [header, *(f"new-{line}" for line in lines)]  # a simulation counts its recordings from 1
    table.write_text("\n".join(lines))
    (tmp_path / "test.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines))
    found, bundle = tmp_path / "out.csv", folder / "bundle"
    code, output = run(
        "predict.py", f"bundle={bundle}", f"input={tmp_path / 'test.csv'}", f"output={found}", data=data
    )
    assert code == 0, output
    with found.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["record"] for row in rows] == [line.split(",")[0] for line in lines[1:]]
    first = [int(row["unit"]) for row in rows if row["record"] == rows[0]["record"]]
    assert first == list(range(len(first)))
    p = np.array([[float(row["probability"])] for row in rows])
    n_units = list(Counter(row["record"] for row in rows).values())
    called = manifest.calling.levels(p, np.array(n_units))[:, 0] >= threshold
    assert [row["decision"] for row in rows] == [str(int(one)) for one in called]
    assert 0 < called.sum() < len(called)
    code, output = run(
        "evaluate.py", f"bundle={bundle}", f"data.root={others}", "data.sets=[train]", data=others
    )
    assert code == 0, output
    judged = json.loads((folder / "evaluation-train" / "metrics.json").read_text())
    assert {"f1", "event_f1", "run_end_error"} <= judged.keys()
