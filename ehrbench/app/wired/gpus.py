"""GPUs of this machine, as ``CUDA_VISIBLE_DEVICES`` names them; asked without waking CUDA."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile

VISIBLE = "CUDA_VISIBLE_DEVICES"
#: What nvidia-smi is waited for, in seconds; it takes ten where it must wake many GPUs.
ANSWERS_S = 30.0


def visible_gpus(accelerator: str) -> list[str]:
    """Those that this process may use; none with ``trainer.accelerator=cpu``."""
    if accelerator == "cpu":
        return []
    if (given := os.environ.get(VISIBLE)) is not None:
        return [name.strip() for name in given.split(",") if name.strip() not in ("", "-1")]
    if not shutil.which("nvidia-smi"):
        return []
    try:
        return _listed(_ask())
    except subprocess.TimeoutExpired:
        problem = f"does not answer within {ANSWERS_S:g} s"
    except OSError as error:
        problem = f"cannot run ({error.strerror})"
    print(f"nvidia-smi {problem}: GPUs are not counted — name them in {VISIBLE}", file=sys.stderr)
    return []


def _ask() -> str:
    """What ``nvidia-smi -L`` says, nothing where it fails; OSError or TimeoutExpired where it is silent."""
    with tempfile.TemporaryFile() as said:
        tool = subprocess.Popen(["nvidia-smi", "-L"], stdout=said, stderr=subprocess.DEVNULL)
        try:
            failed = tool.wait(ANSWERS_S)
        except subprocess.TimeoutExpired:
            tool.kill()  # and is not waited for: a hung driver lets go of nothing
            raise
        said.seek(0)
        return "" if failed else said.read().decode("utf-8", "replace")


def _listed(text: str) -> list[str]:
    """Names in ``nvidia-smi -L``: each GPU, or in its place the instances it is cut into (MIG)."""
    names: list[str] = []
    whole = ""
    for name in re.findall(r"UUID: ((?:GPU|MIG)-[^)\s]+)", text):
        if name.startswith("GPU-"):
            whole = name
        elif whole in names:
            names.remove(whole)
        names.append(name)
    return names
