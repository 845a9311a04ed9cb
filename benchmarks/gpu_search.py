"""A nested search of the ssm and the lstm on one GPU: wall time, and the share of it in which the GPU
computes.

``python -m benchmarks.gpu_search [overrides]``: 5 x 5 folds of all 8,000 patients, ``n_trials=100`` unless
told otherwise, in a process of its own while ``nvidia-smi`` is asked twice a second for the GPU's use.
Results go to a temporary folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ehrbench.publishers.physionet2012 import PhysioNet2012
from ehrbench.tasks.mortality import Mortality

ROOT = Path(__file__).resolve().parents[1]
QUERY = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = os.environ.get("EHRBENCH_DATA") or folder
        if data == folder:
            PhysioNet2012(Mortality()).simulate(Path(folder), 8000, 0)
        overrides = [
            "models=[ssm,lstm]",
            "n_trials=100",
            "tracker=none",
            "report.explained=0",
            "data.sets=[a,b]",
        ]
        overrides += [f"runs_dir={folder}/runs", "study_name=gpu", f"data.root={data}", *sys.argv[1:]]
        began, used = time.perf_counter(), []
        search = subprocess.Popen([sys.executable, str(ROOT / "experiments" / "search.py"), *overrides])
        while search.poll() is None:
            said = subprocess.run(QUERY, capture_output=True, encoding="utf-8", check=False)
            used += [float(line) for line in said.stdout.split()[:1] if line.isdigit()]
            time.sleep(0.5)
        wall = time.perf_counter() - began
    share = f"{sum(used) / len(used):.0f} %" if used else "unknown"
    print(f"search {' '.join(sys.argv[1:]) or 'n_trials=100'}: {wall:.0f} s of wall, GPU busy {share}")
    sys.exit(search.returncode)


if __name__ == "__main__":
    main()
