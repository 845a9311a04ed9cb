"""docs/adding.md: its examples, copied from the page into a checkout, run as the page says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ehrbench.publishers.physionet2012 import PhysioNet2012
from ehrbench.tasks.mortality import Mortality

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "adding.md"
COPIED = ("ehrbench", "experiments", "tests", "pyproject.toml")


def blocks() -> list[tuple[str, str]]:
    """(language, text) of each of the page's fenced blocks."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the page needs of this one, with simulated stays as its data."""
    folder = tmp_path_factory.mktemp("adding") / "checkout"
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)
    PhysioNet2012(Mortality()).simulate(folder / "data", 200, seed=1)
    return folder


def bash(command: str, folder: Path) -> str:
    """What it prints; it must succeed."""
    bin_ = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}", "PYTHONPATH": str(folder)}
    environment |= {
        "OMP_NUM_THREADS": "1",
        "MLFLOW_TRACKING_URI": "",
        "EHRBENCH_CACHE": str(folder / "cache"),
    }
    environment.pop("EHRBENCH_DATA", None)
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, f"{command}\n{ran.stdout}{ran.stderr}"
    return ran.stdout + ran.stderr


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_example_of_the_page_runs(checkout: Path) -> None:
    added, said = [], ""
    for language, text in blocks():
        if language == "bash":
            said += bash(text, checkout)
            continue
        path = checkout / text.split("\n")[0].removeprefix("# ")
        assert path.parent.is_dir(), path
        assert not path.exists(), path
        path.write_text(text)
        added.append(str(path.relative_to(checkout)))
    assert len(added) == 6
    shapes = re.findall(r"^(table|sequence|signal|image|tokens|bag): \w+ (\d\.\d+)$", said, re.MULTILINE)
    assert len(shapes) == 6
    assert all(float(auroc) > 0.8 for _, auroc in shapes), shapes
    for run in ("mortality-smoke", "sepsis-smoke", "by-npv", "plugin"):
        assert (checkout / "runs" / run / "report.html").is_file()
        assert f"runs/{run}/bundle" in said
    bash("ruff check ehrbench; ruff format --check ehrbench; lint-imports --no-cache", checkout)
    served = "from ehrbench.runtime import Bundle; Bundle.load('runs/sepsis-smoke/bundle').self_test()"
    bash(f'python -c "{served}"', checkout)
