"""What the tracker costs a search: the main thread's time in its calls, over all of its time."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from ehrbench.app.searching import search
from ehrbench.infra.tracking import MlflowTracker
from tests.spine.composing import tiny_config


def test_the_main_thread_spends_less_than_a_hundredth_in_tracker_calls(tmp_path: Path, monkeypatch) -> None:
    """On a search of the shortest fits there are, where calls weigh most, with an MLflow that takes them."""
    spent: list[float] = []

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def timing(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                if threading.current_thread() is threading.main_thread():
                    spent.append(time.perf_counter() - started)

        return timing

    for name in ("run", "params", "metrics", "artifact", "end"):
        monkeypatch.setattr(MlflowTracker, name, timed(getattr(MlflowTracker, name)))
    config = tiny_config("beats", tmp_path, "models=[logistic,lightgbm]")
    places = {"uri": f"sqlite:///{tmp_path / 'mlflow.db'}", "spool": str(tmp_path / "spool")}
    config["tracker"] = {"kind": "mlflow", "experiment": "e", **places}
    started = time.perf_counter()
    search(config, [])
    wall = time.perf_counter() - started
    print(f"{len(spent)} tracker calls: {sum(spent) * 1e3:.1f} ms of {wall:.1f} s, {sum(spent) / wall:.3%}")
    share = len(spent) * statistics.median(spent) / wall  # a busy machine interrupts a few of them for long
    assert len(spent) > 50
    assert share < 0.01
