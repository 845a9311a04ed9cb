"""First contact: what ``--help`` says, and how soon a command says anything at all."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from ehrbench.app.command.commands import COMMANDS
from ehrbench.app.command.usage import KEYS, PURPOSE, WIDTH, default_of, usage
from tests.app.processes import ROOT

EHRBENCH = str(Path(sys.executable).with_name("ehrbench"))
#: CPU seconds to the first line: twice what it takes, a third of what importing all of a search takes.
FIRST_LINE_S = 2.0


def test_each_command_has_its_help() -> None:
    assert COMMANDS.keys() == KEYS.keys() == PURPOSE.keys()
    for name, command in COMMANDS.items():
        text = usage(name, command.config)
        assert len(KEYS[name]) <= 10
        assert max(len(line) for line in text.splitlines() if "/" not in line) <= WIDTH
        assert f"ehrbench {name} {PURPOSE[name][1].split('=')[0]}" in text
    assert "n_trials     trials of each study: one a model and outer fold (default: 30)" in usage(
        "search", "config"
    )


def test_defaults_are_those_of_the_configuration() -> None:
    assert default_of("config", "n_trials") == 30
    assert default_of("config", "models") == ["ssm", "lstm", "lightgbm"]
    assert default_of("config", "protocol") == "nested"
    assert default_of("predict", "max_skipped") == 0.001
    assert default_of("config", "task.label") is None


@pytest.mark.parametrize("command", [[EHRBENCH, "predict"], [sys.executable, "experiments/predict.py"]])
def test_hydra_s_own_text_comes_after(command: list[str]) -> None:
    said = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert said.startswith("usage: ehrbench predict [KEY=VALUE ...]")
    assert said.index("Hydra's own words:") < said.index("== Config ==") < said.index("max_skipped: 0.001")


def test_a_first_line_comes_before_what_takes_seconds_to_import(tmp_path: Path) -> None:
    """Counted in CPU seconds of the command, which another load on the machine does not change."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [EHRBENCH, "search", "task=table", "data.file=none.csv", "task.label=died"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("search: task table, nested, 30 trials a study, into ")
    process.kill()
    process.communicate()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used_s < FIRST_LINE_S


def test_a_stop_while_data_are_read_says_a_word(tmp_path: Path) -> None:
    code = (
        "from ehrbench.publishers import own_table_files as o; from ehrbench.app.command.cli import main\n"
        "def stop(*where): raise KeyboardInterrupt\n"
        "o.OwnTableFiles.settle = stop; main()"
    )
    command = [sys.executable, "-c", code, "search", "task=table", "data.file=none.csv", "task.label=died"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1] == "stopped. Nothing was trained yet."
    assert not list((tmp_path / "runs" / "table-nested").glob("*.json"))


@pytest.mark.parametrize("name", ["csv", "patients"])
def test_a_task_that_is_none_is_told_where_ones_own_file_goes(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [EHRBENCH, "search", f"task={name}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith(
        f"ehrbench: task: there is no {name!r} — your own file goes with task=table"
    )
    assert "mortality" in done.stderr
    assert done.stderr.count("\n") == 1
