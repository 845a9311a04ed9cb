"""Which GPUs a command's workers get: a stand-in for nvidia-smi answers as the real one does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ehrbench.app.composed.checking import check
from ehrbench.app.search.workers import LocalWorkers
from ehrbench.app.wired.gpus import visible_gpus
from ehrbench.app.wired.wiring import plan
from tests.spine.composing import tiny_config

TWO = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aa)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bb)
"""
#: As NVIDIA's MIG user guide shows it.
CUT = """\
GPU 0: A100-SXM4-40GB (UUID: GPU-aa)
  MIG 3g.20gb     Device  0: (UUID: MIG-GPU-aa/1/0)
  MIG 1g.5gb      Device  1: (UUID: MIG-c6d4f1ef)
GPU 1: A100-SXM4-40GB (UUID: GPU-bb)
"""


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sets what nvidia-smi lists."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f'#!/bin/sh\n[ "$*" = -L ] && cat {tmp_path}/list\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return (tmp_path / "list").write_text


def test_all_that_are_visible(listed, monkeypatch):
    listed(TWO)
    assert visible_gpus("auto") == ["GPU-aa", "GPU-bb"]
    assert visible_gpus("cpu") == []
    for given, expected in (
        ("1", ["1"]),
        ("0,GPU-bb,MIG-c6", ["0", "GPU-bb", "MIG-c6"]),
        ("", []),
        ("-1", []),
    ):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
        assert visible_gpus("auto") == expected


def test_a_gpu_in_parts_is_its_parts(listed):
    listed(CUT)
    assert visible_gpus("auto") == ["MIG-GPU-aa/1/0", "MIG-c6d4f1ef", "GPU-bb"]


@pytest.mark.parametrize(
    ("tool", "problem"),
    [("#!/bin/sh\nexec sleep 60\n", "does not answer within"), ("no program\n", "cannot run (Exec format")],
)
def test_a_tool_that_hangs_or_cannot_run_costs_a_line(tool, problem, listed, tmp_path, monkeypatch, capsys):
    listed(TWO)
    (tmp_path / "nvidia-smi").write_text(tool)
    monkeypatch.setattr("ehrbench.app.wired.gpus.ANSWERS_S", 0.3)
    assert visible_gpus("auto") == []
    said = capsys.readouterr().err
    assert said.startswith(f"nvidia-smi {problem}")
    assert said.endswith("GPUs are not counted — name them in CUDA_VISIBLE_DEVICES\n")


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


def test_a_study_is_known_by_whether_its_folds_train_together(tmp_path: Path) -> None:
    """By what ``auto`` comes to on this machine, so that no figure is continued in another way unseen."""

    def told(*overrides: str) -> object:
        config = tiny_config(
            "beats", tmp_path, "models=[lstm,logistic]", "trainer.accelerator=cpu", *overrides
        )
        contenders = plan(check(config)).contenders
        assert "together" not in contenders["logistic"].builder.settings()["build"]
        return contenders["lstm"].builder.settings()["build"]["together"]

    assert [told(), told("trainer.together=true"), told("trainer.together=false")] == [False, True, False]
