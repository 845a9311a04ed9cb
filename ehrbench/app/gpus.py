"""GPUs of this machine, as ``CUDA_VISIBLE_DEVICES`` names them; asked without waking CUDA."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

VISIBLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus(accelerator: str) -> list[str]:
    """Those that this process may use; none with ``trainer.accelerator=cpu``."""
    if accelerator == "cpu":
        return []
    if (given := os.environ.get(VISIBLE)) is not None:
        return [name.strip() for name in given.split(",") if name.strip() not in ("", "-1")]
    if not shutil.which("nvidia-smi"):
        return []
    found = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=60)
    return _listed(found.stdout) if found.returncode == 0 else []


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
