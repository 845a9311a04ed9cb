"""What a search prints at its end."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rich.console import Console

from ehrbench import metrics
from ehrbench.app.console import command, comparing, leaderboard


def test_the_leaderboard_says_where_lower_is_better(capsys):
    results = {name: {"mean": 0.5, "interval": {"low": 0.4, "high": 0.6}} for name in ("auroc", "brier")}
    shown = [metrics.load(name) for name in ("auroc", "brier", "calibration_slope")]
    results["calibration_slope"] = {"mean": 123.456, "interval": {"low": 9.87654, "high": 1234.5}}
    leaderboard(Console(width=160), "a title", [("ssm", results)], shown)
    out = capsys.readouterr().out
    assert "brier ↓" in out
    assert "auroc ↓" not in out
    assert "calibration_slope ↓" not in out
    assert "0.5000 (0.4000–0.6000)" in out
    assert "123.5 (9.8765–1234.5)" in out


def test_a_command_is_called_as_it_can_be(monkeypatch):
    here = Path(sys.executable).parent
    assert (here / "mlflow").exists()
    monkeypatch.setenv("PATH", str(here))
    assert command("mlflow") == "mlflow"
    monkeypatch.setenv("PATH", os.defpath)
    assert Path(command("mlflow")).resolve() == (here / "mlflow").resolve()
    assert (
        comparing("sqlite:///runs/mlflow.db")
        == f"{command('mlflow')} ui --backend-store-uri sqlite:///runs/mlflow.db"
    )
    assert comparing("https://mlflow.example") == "https://mlflow.example"
