"""What the project brings along: licences that let it be passed on, and what the server's image holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.repository.conftest import ROOT, script

ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def run(*command: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, input=given, capture_output=True, text=True)


def test_every_installation_may_be_passed_on() -> None:
    done = run("scripts/licences.sh")
    assert done.returncode == 0, done.stderr
    listed = {line.split("|")[1].strip() for line in done.stdout.splitlines()[2:]}
    assert {"torch", "optuna", "lightgbm", "fastapi"} <= listed
    assert "pytest" not in listed


def test_a_licence_that_binds_others_is_named() -> None:
    done = run("scripts/licences.sh", "grandalf")  # which the extra ``dvc`` brings, under the GPL
    assert done.returncode == 1
    assert "GPL" in done.stderr


def test_the_bill_of_materials_is_what_the_image_installs(lock: dict[str, Any]) -> None:
    lines = run(sys.executable, "scripts/locked.py", "served").stdout
    done = run(
        "cyclonedx-py", "requirements", "--output-reproducible", "-", given=lines
    )  # validates what it writes
    assert done.returncode == 0, done.stderr
    bill = json.loads(done.stdout)
    locked = script("locked")
    held = {part["name"]: part["version"] for part in bill["components"]}
    assert held == locked.closure(lock, locked.served())
    assert {"fastapi", "onnxruntime", "uvicorn", "numpy"} <= set(held)
    assert not {"torch", "mlflow", "optuna"} & set(held)


def test_of_several_versions_the_image_has_that_of_its_python(lock: dict[str, Any]) -> None:
    assert "python:3.11-" in (ROOT / "docker" / "Dockerfile").read_text()
    numpys = {p["version"]: p["markers"] for p in lock["package"] if p["name"] == "numpy"}
    assert '== "3.11"' in numpys[script("locked").closure(lock, ["numpy"])["numpy"]]
