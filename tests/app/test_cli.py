"""The command ``ehrbench`` as a user types it."""

import pytest

from ehrbench.app.command.cli import main
from ehrbench.app.composed.conf import task_names
from tests.tasks.own_data import OWN


@pytest.mark.parametrize("task", [name for name in task_names() if name not in OWN])
def test_a_simulated_cohort_is_written_and_described_as_one(task, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("EHRBENCH_CACHE", str(tmp_path / "cache"))
    root = str(tmp_path / "data")
    assert main(["data", "simulate", task, "--records", "120", "--root", root]) == 0
    assert "120 SIMULATED records" in capsys.readouterr().out
    assert main(["data", "describe", task, "--root", root]) == 0
    out = capsys.readouterr().out
    assert "(simulated)" in out
    assert "digest" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "describe", "mortalty"], "task: there is no task 'mortalty'"),
        (["data", "simulate", "mortality", "--records", "3"], "--records: 3 are too few to split"),
        (["data", "describe", "mortality", "--root", "/nowhere"], "ehrbench data get mortality"),
        (["serve", "--bundle", "/nowhere"], "/nowhere: no such folder"),
    ],
)
def test_what_goes_wrong_is_one_line(arguments, message, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["serve", "--bundle", ""],
        ["data", "simulate", "mortality", "--root", ""],
        ["report", ""],
        ["compare", "runs/a", ""],
        ["compare", "runs/a", "--output", " "],
        ["certify", ""],
        ["study", "status", "--runs-dir", ""],
    ],
)
def test_an_empty_place_is_no_place(arguments, tmp_path, monkeypatch, capsys):
    """As an unset variable leaves it; it was taken for the current folder."""
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert "is empty — name a file or folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_empty_host_is_refused(tmp_path, capsys):
    assert main(["serve", "--bundle", str(tmp_path), "--host", ""]) == 2
    assert "host: is empty" in capsys.readouterr().err
