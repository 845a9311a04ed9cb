"""What scripts/ promise: they parse, refuse what cannot be, start and stop workers as they say."""

from __future__ import annotations

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHELL = [*sorted((ROOT / "scripts").glob("*.sh")), ROOT / ".ci" / "run"]


@pytest.mark.parametrize("path", SHELL, ids=lambda p: p.name)
def test_shell_scripts_parse_and_can_be_executed(path: Path) -> None:
    assert os.access(path, os.X_OK)
    done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("n_trails=3", "n_trails: unknown key — did you mean n_trials?"),
        ("n_trials=0", "n_trials: input should be greater than or equal to 1 (got 0)"),
    ],
)
def test_quickstart_refuses_what_cannot_be_before_it_fetches_anything(
    override: str, message: str, tmp_path: Path
) -> None:
    """The script itself, with the environment that is there and a download that would be noticed."""
    for name in ("ehrbench", "experiments"):
        (tmp_path / name).symlink_to(ROOT / name)
    bin = tmp_path / ".venv" / "bin"
    bin.mkdir(parents=True)
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "quickstart.sh", tmp_path / "scripts")
    commands = {
        tmp_path / "scripts" / "environment.sh": "",
        bin / "python": f'exec {sys.executable} "$@"',
        bin / "ehrbench": f"touch {tmp_path / 'fetched'}; exit 3",
    }
    for path, text in commands.items():
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name != "EHRBENCH_DATA"}

    def quickstart(*overrides: str) -> subprocess.CompletedProcess[str]:
        command = ["scripts/quickstart.sh", "models=[lightgbm]", *overrides]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    refused = quickstart(override)
    assert refused.returncode not in (0, 3)
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "fetched").exists()
    if override == "n_trials=0":
        assert quickstart("n_trials=1").returncode == 3
        assert (tmp_path / "fetched").exists()


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("*.py")), ids=lambda p: p.stem)
def test_entry_points_explain_themselves(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(path), "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    assert "conf" in done.stdout.lower()
    assert path.stem in (ast.get_docstring(ast.parse(path.read_text())) or "")


def test_environment_refuses_an_unsuitable_python(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    clone = tmp_path / "clone"
    (clone / "scripts").mkdir(parents=True)
    (clone / "scripts" / "environment.sh").write_bytes((ROOT / "scripts" / "environment.sh").read_bytes())
    done = subprocess.run(
        ["bash", "scripts/environment.sh"],
        cwd=clone,
        env={**os.environ, "EHRBENCH_PYTHON": str(old)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "3.11, 3.12 or 3.13" in done.stderr
    assert not (clone / ".venv").exists()


def test_environment_is_made_once_for_what_is_asked(tmp_path: Path) -> None:
    """By the real script and lock, with a pip that only writes down what it is asked for."""
    scripts, interpreter = tmp_path / "scripts", tmp_path / ".venv" / "bin" / "python"
    scripts.mkdir()
    for name in ("environment.sh", "locked.py"):
        (scripts / name).write_bytes((ROOT / "scripts" / name).read_bytes())
    for name in ("poetry.lock", "pyproject.toml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    interpreter.parent.mkdir(parents=True)
    interpreter.write_text(
        f"""#!/bin/bash
        case "$*" in
            "-m pip "*) echo "$*" >>"{tmp_path / "log"}" ;;
            *"import ehrbench, torch"*) ;;
            *) exec "{sys.executable}" "$@" ;;
        esac"""
    )
    interpreter.chmod(0o755)

    def asked(*arguments: str, extras: str = "") -> str:
        """Which of the project's extras pip was asked for, or that nothing was to be done."""
        (tmp_path / "log").write_text("")
        subprocess.run(
            ["bash", "scripts/environment.sh", *arguments],
            cwd=tmp_path,
            env={**os.environ, "EHRBENCH_EXTRAS": extras, "EHRBENCH_TORCH_WHEELS": ""},
            capture_output=True,
            check=True,
        )
        log = (tmp_path / "log").read_text()
        dev = " and dev" * ("--requirement" in log)
        return re.sub(rf".*--editable {re.escape(str(tmp_path))}(\S*).*\n", rf"main\1{dev}", log) or "nothing"

    assert asked() == "main"
    assert asked() == "nothing"
    assert asked("--dev") == "main[s3,docs,dvc,wandb] and dev"
    assert [asked("--dev"), asked(), asked(extras="s3")] == ["nothing"] * 3
    assert asked(extras="s3,slurm") == "main[s3,slurm]"
    assert asked("--dev", extras="slurm") == "main[s3,docs,dvc,wandb,slurm] and dev"
    (tmp_path / "poetry.lock").write_text((tmp_path / "poetry.lock").read_text() + "\n")
    assert asked() == "main"


@contextmanager
def worker(tmp_path: Path, body: str) -> Iterator[subprocess.Popen[str]]:
    """scripts/worker.sh, keeping one worker whose interpreter is a shell script."""
    interpreter = tmp_path / "python"
    interpreter.write_text(f"#!/bin/bash\n{body}\n")
    interpreter.chmod(0o755)
    process = subprocess.Popen(
        [str(ROOT / "scripts" / "worker.sh"), "-n", "1", "study_name=t"],
        env={**os.environ, "EHRBENCH_WORKER_PYTHON": str(interpreter), "LOG": str(tmp_path / "log")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # CI may run us with INT ignored
    )
    try:
        yield process
    finally:
        if process.poll() is None:  # the test has failed already; leave nothing behind
            for child in children(process.pid):
                os.kill(child, signal.SIGKILL)
            process.kill()
            process.communicate()


def children(pid: int) -> list[int]:
    """Processes started by ``pid`` and theirs, the youngest last."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    return [one for child in map(int, listed.split()) for one in (child, *children(child))]


def test_worker_starts_again_after_a_crash_with_the_same_arguments(tmp_path: Path) -> None:
    body = 'echo "$EHRBENCH_WORKER $*" >>"$LOG"; [ "$(wc -l <"$LOG")" -ge 2 ] || kill -KILL $$'
    with worker(tmp_path, body) as process:
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "ended with 137, starting again in 2 s" in errors
    assert (tmp_path / "log").read_text() == "1 experiments/search.py study_name=t\n" * 2


def test_worker_does_not_repeat_a_faulty_configuration(tmp_path: Path) -> None:
    with worker(tmp_path, 'echo once >>"$LOG"; exit 2') as process:
        process.communicate(timeout=120)
    assert process.returncode == 2
    assert (tmp_path / "log").read_text() == "once\n"


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
def test_worker_lets_its_search_give_the_trial_back(tmp_path: Path, asked: signal.Signals) -> None:
    body = """trap 'echo interrupted >>"$LOG"; exit 130' TERM
        echo ready >>"$LOG"
        while :; do sleep 0.1; done"""
    log = tmp_path / "log"
    with worker(tmp_path, body) as process:
        deadline = time.monotonic() + 60
        while not log.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(asked)
        process.communicate(timeout=120)
    assert process.returncode == 130
    assert log.read_text() == "ready\ninterrupted\n"


def test_only_the_whole_suite_has_a_floor_of_coverage(tmp_path: Path) -> None:
    """The script itself; its tools say what they are asked."""
    tools = tmp_path / ".venv" / "bin"
    tools.mkdir(parents=True)
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "test.sh", tmp_path / "scripts")
    for path in [
        tmp_path / "scripts" / "environment.sh",
        *(tools / n for n in ("ruff", "mypy", "lint-imports", "python")),
    ]:
        path.write_text('#!/bin/sh\necho "$0 $*"\n')
        path.chmod(0o755)

    def asked(*arguments: str) -> str:
        command = ["bash", "scripts/test.sh", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout.splitlines()[-1]

    assert re.search(r"python -m pytest .*--cov-fail-under=\d\d$", asked())
    assert asked("tests/spine").endswith(" tests/spine")
    assert "fail-under" not in asked("tests/spine")
    assert "lint-imports" in asked("--lint")
