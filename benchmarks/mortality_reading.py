"""Raw PhysioNet 2012 archives to ready arrays: statistics and hourly grid of sets a and b, 8,000 patients."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from ehrbench.features.grid import Grid
from ehrbench.features.statistics import Statistics
from ehrbench.publishers.physionet2012 import PhysioNet2012
from ehrbench.tasks.mortality import Mortality


def ready(data: Path) -> float:
    """Seconds until both arrays stand."""
    began = time.perf_counter()
    records = PhysioNet2012(Mortality()).read(data, ("a", "b")).records
    for featurizer in (Statistics(), Grid()):
        records.rows(featurizer.key, featurizer.rows)
    return time.perf_counter() - began


def main() -> None:
    data = Path(os.environ["EHRBENCH_DATA"])
    with tempfile.TemporaryDirectory() as cache:
        os.environ["EHRBENCH_CACHE"] = cache
        print(f"raw archives to arrays  {ready(data):.2f} s  (cores: {os.cpu_count()})")
        for _ in range(3):
            print(f"from the cache          {ready(data):.2f} s")


if __name__ == "__main__":
    main()
