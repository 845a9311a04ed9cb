"""What a search prints at its end."""

from __future__ import annotations

import io
import os
import sys
import time
from pathlib import Path

from rich.console import Console

from ehrbench import metrics
from ehrbench.app.composed import console as terminals
from ehrbench.app.composed.console import Bars, Lines, command, comparing, leaderboard


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


def test_the_leaderboard_folds_where_the_terminal_is_narrow(capsys):
    """80 columns: intervals below their means, metrics in further tables; no figure is cut."""
    names = ("auroc", "auprc", "brier", "log_loss", "sensitivity", "specificity")
    results = {
        name: {"mean": 0.1 * i, "interval": {"low": 0.1 * i - 0.01, "high": 0.1 * i + 0.01}}
        for i, name in enumerate(names, 1)
    }
    rows = [("hist_gradient_boosting", results), ("ssm", results)]
    shown = [metrics.load(name) for name in names]
    for width in (50, 80, 120, 300):
        leaderboard(Console(width=width), "a title", rows, shown)
        out = capsys.readouterr().out
        assert max(map(len, out.splitlines())) <= width
        assert "…" not in out
        assert out.count("a title") == out.count("lower is better") == 1
        for i in range(1, 7):
            assert out.count(f"({0.1 * i - 0.01:.4f}–{0.1 * i + 0.01:.4f})") == 2, width
    assert out.count("hist_gradient_boosting") == 1


def test_a_bar_of_80_columns_is_one_line_and_says_what_is_left():
    console = Console(width=80, force_terminal=True, record=True, file=io.StringIO())
    bars = Bars(console)
    with bars.step("whole search", 300) as whole, bars.step("lightgbm · fold all", 60) as step:
        for _ in range(3):
            whole.advance()
            step.advance(2)
            time.sleep(0.01)
        step.note("fold 2/5  133/133  valid_loss 0.5383  and a longer note than there is room for")
        drawn = console.render_lines(bars._bars.get_renderable())
    lines = ["".join(segment.text for segment in line) for line in drawn]
    assert len(lines) == 2
    assert all("left" in line for line in lines)
    assert "3/300" in lines[0]


def test_a_log_lists_every_step_and_says_how_far_a_long_one_is(capsys, monkeypatch):
    monkeypatch.setattr(terminals, "QUIET_S", -1.0)
    with Lines().step("whole search", 300) as step:
        step.advance(100)  # of an earlier day
        time.sleep(0.05)
        step.advance(50)
        step.note("valid_loss 0.5")
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "  whole search 100/300"
    assert said[1] == "  whole search 150/300  less than a minute left"
    assert said[2] == "  whole search 150/300  less than a minute left  valid_loss 0.5"
    assert said[3] == "✓ whole search 0.1 s"


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
