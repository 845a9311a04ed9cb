"""``on_gpu.py`` in a process of its own, since a pretend GPU is there for the whole of it, or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.models.pretend_gpu import build

SUITE = Path(__file__).with_name("on_gpu.py")


@pytest.mark.skipif(
    not torch.cuda.is_available() and (sys.platform != "linux" or not shutil.which("g++")),
    reason="neither a GPU nor g++ to build the pretend one",
)
@pytest.mark.skipif(
    not torch.cuda.is_available() and torch.version.cuda is not None,
    reason="torch's CUDA build without a GPU: the pretend one takes a place that is taken there",
)
def test_networks_on_a_gpu(tmp_path: Path) -> None:
    environment = dict(os.environ)
    if not torch.cuda.is_available():
        environment["LD_PRELOAD"] = str(build(tmp_path))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        str(SUITE),
    ]
    ran = subprocess.run(
        command, env=environment, cwd=SUITE.parents[2], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
