"""A whole search of drawn chests by command, its explanations, and images predicted from its bundle."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from ehrbench.publishers.radiographs import Kermany
from ehrbench.tasks.radiographs.phantom import chest, png
from ehrbench.tasks.xray import XRay
from tests.app.processes import run


def test_images_are_searched_explained_and_predicted(tmp_path: Path) -> None:
    data, runs, images = tmp_path / "data", tmp_path / "runs", tmp_path / "images"
    Kermany(XRay()).simulate(data, 80, seed=1)
    small = ["model.cnn.build.width=8", "model.cnn.build.max_epochs=1", "report.explained=4"]
    small += ["task=xray", "models=[cnn,logistic]", "protocol=smoke", "tracker=none", f"runs_dir={runs}"]
    code, output = run("search.py", *small, data=data)
    assert code == 0, output
    explained = json.loads((runs / "xray-smoke" / "explanations.json").read_text())
    assert explained["attributions"]["cnn"]["method"].startswith("integrated gradients, from an image")
    assert "row 2 column 3" in (runs / "xray-smoke" / "explanations.json").read_text()
    images.mkdir()
    (images / "one.png").write_bytes(png(chest(200, 1)))
    (images / "two.png").write_bytes(png(chest(90, 2, ("haze",))))
    bundle, found = runs / "xray-smoke" / "bundle", tmp_path / "out.csv"
    code, output = run("predict.py", f"bundle={bundle}", f"input={images}", f"output={found}", data=data)
    assert code == 0, output
    with found.open() as file:
        assert [row["record"] for row in csv.DictReader(file)] == ["one", "two"]
