"""Before a commit runs what CI runs, on the files of the commit."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.repository.conftest import ROOT

CONFIG = ROOT / ".pre-commit-config.yaml"


@pytest.fixture(scope="module")
def hooks() -> dict[str, dict[str, Any]]:
    (own,) = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["repos"]
    return {hook["id"]: hook for hook in own["hooks"]}


def pre_commit(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pre_commit", *words], cwd=cwd, capture_output=True, text=True
    )


def test_the_configuration_is_one_of_pre_commit() -> None:
    done = pre_commit("validate-config", str(CONFIG))
    assert done.returncode == 0, done.stdout


def test_every_linter_of_ci_is_a_hook(hooks: dict[str, dict[str, Any]]) -> None:
    lines = re.findall(r"^say .*$", (ROOT / "scripts" / "test.sh").read_text(encoding="utf-8"), re.MULTILINE)
    ci = {words.split()[0] for line in lines[:-1] for words in line.split(";")[1:]}
    assert {"ruff", "mypy", "lint-imports"} == ci
    assert ci <= {Path(hook["entry"].split()[0]).name for hook in hooks.values()}


def test_what_a_hook_runs_is_there(hooks: dict[str, dict[str, Any]]) -> None:
    for hook in hooks.values():
        program = hook["entry"].split()[0]
        assert Path(sys.executable).with_name(Path(program).name).exists(), program
        assert "pytest" not in hook["entry"], "a commit waits seconds, not for tests"


def test_a_badly_formed_file_is_stopped_and_mended(tmp_path: Path) -> None:
    """The hook itself, in a repository of one file."""
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
    (tmp_path / ".pre-commit-config.yaml").write_text(CONFIG.read_text(encoding="utf-8"))
    (tmp_path / "odd.py").write_text("x = {  'a':1 }\n")
    subprocess.run(["git", "add", "odd.py", ".pre-commit-config.yaml"], cwd=tmp_path, check=True)
    stopped = pre_commit("run", "ruff-format", cwd=tmp_path)
    assert stopped.returncode == 1, stopped.stdout + stopped.stderr
    assert (tmp_path / "odd.py").read_text() == 'x = {"a": 1}\n'
    subprocess.run(["git", "add", "odd.py"], cwd=tmp_path, check=True)
    assert pre_commit("run", "ruff-format", cwd=tmp_path).returncode == 0
