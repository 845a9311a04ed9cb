"""Which GPUs a command's workers get: a stand-in for nvidia-smi answers as the real one does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ehrbench.app.gpus import visible_gpus
from ehrbench.app.workers import LocalWorkers


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf 'GPU-aa\\nGPU-bb\\n'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("two_gpus")
def test_all_that_are_visible(monkeypatch):
    assert visible_gpus("auto") == ["GPU-aa", "GPU-bb"]
    assert visible_gpus("cpu") == []
    for given, expected in (("1", ["1"]), ("0,GPU-bb", ["0", "GPU-bb"]), ("", []), ("-1", [])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
        assert visible_gpus("auto") == expected


def test_none_without_a_driver(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus("auto") == []


def test_each_process_has_one_to_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    show = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'], os.environ['EHRBENCH_WORKER'])"
    with LocalWorkers(2, ["-c", show], tmp_path, ["0", "1"]):
        here = subprocess.run(
            [sys.executable, "-c", "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"],
            capture_output=True,
            text=True,
            check=True,
        )
    assert here.stdout.split() == ["0"]
    logs = [(tmp_path / f"worker-{n}.log").read_text().split() for n in (1, 2)]
    assert logs == [["1", "1"], ["0", "2"]]
