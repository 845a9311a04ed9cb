"""GPUs of this machine, as ``CUDA_VISIBLE_DEVICES`` names them; asked without waking CUDA."""

from __future__ import annotations

import os
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
    query = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    found = subprocess.run(query, capture_output=True, text=True, check=False, timeout=60)
    return found.stdout.split() if found.returncode == 0 else []
