"""The wheel: built, installed beside its dependencies, and used in an empty folder, without a checkout."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
import sysconfig
import urllib.request
import venv
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
#: What a build backend is called with; pip's own front end would fetch it from an index.
BUILD = "import sys; from poetry.core.masonry.api import build_wheel; print(build_wheel(sys.argv[1]))"


def ran(*command: str | Path, folder: Path) -> str:
    """What it prints; it must succeed, and knows neither this checkout nor this test's environment."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environment |= {"OMP_NUM_THREADS": "1", "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment with the wheel, whose dependencies are this one's."""
    folder = tmp_path_factory.mktemp("wheel")
    (folder / "dist").mkdir()
    name = subprocess.run(
        [sys.executable, "-c", BUILD, str(folder / "dist")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()[-1]
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--quiet", str(folder / "dist" / name)], check=True)
    there = ran(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=folder).strip()
    # its .pth files, the checkout's among them, are not read there
    Path(there, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python.parent


@pytest.mark.slow
def test_an_installed_wheel_searches_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    draw = random.Random(0)
    with (tmp_path / "patients.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["age", "ward", "died"])
        for _ in range(120):
            age = draw.gauss(60, 12)
            rows.writerow([round(age), draw.choice(["icu", "ward"]), int(draw.gauss(age, 15) > 65)])
    where = ran(installed / "python", "-c", "import ehrbench; print(ehrbench.__file__)", folder=tmp_path)
    assert str(installed.parent) in where
    quick = ["task=table", "data.file=patients.csv", "task.label=died", "models=[logistic]", "n_trials=1"]
    quick += ["protocol=smoke", "report.explained=0", "workers=2"]
    out = ran(installed / "ehrbench", "search", *quick, folder=tmp_path)
    assert "ensemble" in out
    bundle = tmp_path / "runs" / "table-smoke" / "bundle"
    assert f"serve --bundle {bundle.relative_to(tmp_path)}" in out
    predict = ["predict", f"bundle={bundle}", "input=patients.csv", "output=out.csv"]
    ran(installed / "ehrbench", *predict, folder=tmp_path)
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 121
    assert (tmp_path / "runs" / "table-smoke" / "report.html").is_file()
    assert '"git_commit": "unknown"' in (bundle / "manifest.json").read_text()
    answer = posted(installed, tmp_path, bundle.parent, b"age,ward\n81,icu\n40,ward\n")
    probabilities = [one["probability"]["died"] for one in answer["predictions"]]
    assert len(probabilities) == 2
    assert probabilities[0] > probabilities[1]


def posted(installed: Path, folder: Path, run: Path, body: bytes) -> dict[str, Any]:
    """What a server of the run's bundle, started as in the README, answers to a CSV."""
    command = [str(installed / "ehrbench"), "serve", "--bundle", str(run), "--port", "0"]
    server = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert server.stdout is not None
        said: dict[str, Any] = {}
        for line in server.stdout:
            said |= {event["event"]: event for event in [json.loads(line)]}
            if "ready" in said:
                break
        request = urllib.request.Request(
            f"{said['listening']['url']}/predict", body, {"Content-Type": "text/csv"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    finally:
        server.terminate()
        server.communicate(timeout=60)


def test_a_folder_of_ones_own_adds_to_the_installed_configuration(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "mine" / "protocol").mkdir(parents=True)
    text = ran(installed / "ehrbench", "search", "--cfg", "job", "--package", "protocol", folder=tmp_path)
    assert "outer_folds: 5" in text
    (tmp_path / "mine" / "protocol" / "ours.yaml").write_text("defaults:\n  - nested\nouter_folds: 4\n")
    ours = ["--config-dir", "mine", "protocol=ours", "--cfg", "job", "--package", "protocol"]
    assert "outer_folds: 4" in ran(installed / "ehrbench", "search", *ours, folder=tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"]
