"""The tracker beside a search: what it costs the main thread, and a search that goes on."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from ehrbench.app.searching import search
from ehrbench.infra.tracking import MlflowTracker
from tests.spine.composing import tiny_config


def tracked(folder: Path, *overrides: str) -> dict[str, Any]:
    """A tiny search's configuration, tracked in a store of the folder."""
    config = tiny_config("beats", folder, *overrides)
    places = {"uri": f"sqlite:///{folder / 'mlflow.db'}", "spool": str(folder / "spool")}
    return config | {"tracker": {"kind": "mlflow", "experiment": "e", **places}}


def test_a_search_goes_on_with_a_greater_budget(tmp_path: Path, caplog) -> None:
    for n_trials in (1, 2):
        search(tracked(tmp_path, "models=[logistic]", f"n_trials={n_trials}", "report.explained=0"), [])
    assert "refused" not in caplog.text
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("e")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.kind = 'search'")
    assert [run.data.tags["budget"] for run in runs] == ["logistic 2"]


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
    config = tracked(tmp_path, "models=[logistic,lightgbm]")
    started = time.perf_counter()
    search(config, [])
    wall = time.perf_counter() - started
    print(f"{len(spent)} tracker calls: {sum(spent) * 1e3:.1f} ms of {wall:.1f} s, {sum(spent) / wall:.3%}")
    share = len(spent) * statistics.median(spent) / wall  # a busy machine interrupts a few of them for long
    assert len(spent) > 50
    assert share < 0.01
