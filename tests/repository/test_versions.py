"""dvc.yaml: from a publisher's files to an evaluated bundle, kept on a folder as remote, made again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.repository.conftest import ROOT

PUBLISHERS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["publishers"]
SMALL = "models=[logistic] n_trials=1 protocol.inner_folds=2 tracker=none"
SMALL += " report.explained=0 report.n_bootstrap=100"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What dvc.yaml reads of the repository, with a small search; ``ehrbench`` is this one."""
    for name in ("dvc.yaml", "params.yaml", ".dvcignore", ".dvc/config", "ehrbench/conf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    ask(tmp_path)
    program = tmp_path / "bin" / "ehrbench"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nPYTHONPATH={ROOT} exec "{sys.executable}" \\\n  -m ehrbench.app.command.cli "$@"\n'
    )
    program.chmod(0o755)
    return tmp_path


def ask(checkout: Path, **more: str) -> None:
    """The two publishers of this test, and what is asked of a task's search beside ``SMALL``."""
    few = {"mortality": "", "diabetes": "protocol.outer_folds=2"}
    asked = {
        name: {
            **PUBLISHERS[name],
            "search": " ".join([PUBLISHERS[name]["search"], SMALL, folds, more.get(name, "")]),
        }
        for name, folds in few.items()
    }
    (checkout / "params.yaml").write_text(yaml.safe_dump({"publishers": asked}))


def run(checkout: Path, *words: str) -> str:
    environment = os.environ | {"PATH": f"{checkout / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    environment |= {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(checkout / ".site")}
    done = subprocess.run(words, cwd=checkout, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def dvc(checkout: Path, *words: str) -> str:
    return run(checkout, sys.executable, "-m", "dvc", *words)


def test_a_pipeline_is_made_kept_and_made_again_as_far_as_it_changed(checkout: Path) -> None:
    dvc(checkout, "config", "core.no_scm", "true")
    dvc(checkout, "remote", "add", "-d", "folder", str(checkout / "remote"))
    for task in ("mortality", "diabetes"):
        run(checkout, "ehrbench", "data", "simulate", task, "--root", "data", "--records", "120")
        dvc(checkout, "commit", "-f", f"get@{task}")  # as of files that were put there by hand
    made = dvc(checkout, "repro", "evaluate", "unseen")
    stages = [f"{stage}@{task}" for task in ("mortality", "diabetes") for stage in ("search", "evaluate")]
    assert [f"Running stage '{name}'" in made for name in (*stages, "unseen", "get@mortality")] == [
        *[True] * 5,
        False,
    ]
    assert "certificate holds" in (checkout / "runs" / "diabetes-1.txt").read_text()
    summary = json.loads((checkout / "runs" / "mortality-1" / "summary.json").read_text())
    lock: dict[str, Any] = yaml.safe_load((checkout / "dvc.lock").read_text())
    (out,) = lock["stages"]["get@mortality"]["outs"]
    assert summary["data"]["dvc"] == {"data/physionet2012": {"md5": out["md5"], "as_recorded": True}}
    assert "auroc" in json.loads((checkout / "runs" / "mortality-1" / "unseen" / "metrics.json").read_text())

    dvc(checkout, "push")
    shutil.rmtree(checkout / "data")
    shutil.rmtree(checkout / "runs")
    shutil.rmtree(checkout / ".dvc" / "cache")
    dvc(checkout, "pull")
    assert (checkout / "data" / "physionet2012" / "set-a.tar.gz").is_file()
    assert (checkout / "runs" / "mortality-1" / "bundle" / "manifest.json").is_file()
    assert "Running stage" not in dvc(checkout, "repro", "evaluate", "unseen")

    ask(checkout, mortality="seed=1")
    status = json.loads(dvc(checkout, "status", "--json"))
    assert "search@mortality" in status
    assert not {"describe@mortality", "search@diabetes"} & set(status)


def test_every_publisher_with_data_of_its_own_has_its_stages() -> None:
    """Found by what its download would make: the folder is the module's own."""
    from ehrbench.publishers.brfss2015 import survey
    from ehrbench.publishers.cardiospike import recordings
    from ehrbench.publishers.mtsamples import samples
    from ehrbench.publishers.physionet2012 import challenge_files

    folders = {name: block["folder"] for name, block in PUBLISHERS.items()}
    modules = {"mortality": challenge_files, "diabetes": survey, "rr_rhythm": recordings}
    modules |= {"transcriptions": samples}
    assert {name: folders[name] for name in modules} == {name: m.FOLDER for name, m in modules.items()}
    tasks = {path.stem for path in (ROOT / "ehrbench" / "conf" / "task").glob("*.yaml")}
    without = {"table", "series"} | {
        name for name in tasks if name.startswith("xray_")
    }  # one's own; by account
    assert set(PUBLISHERS) == tasks - without
