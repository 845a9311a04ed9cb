#!/usr/bin/env python3
"""Write poetry.lock by the package index that pip is configured with.

Poetry asks its index in JSON and knows nothing of pip's configuration, so it cannot resolve where only
an HTML index answers (a hospital's mirror). This gives Poetry that index as the primary source of a temporary
copy of the project, then makes the result the project's own: the lock names no index, and its content hash is
that of the real pyproject.toml. ``poetry check --lock`` passes and ``poetry install`` works anywhere.

    scripts/lock.py              keep what is locked, add what is missing
    scripts/lock.py --upgrade    newest versions that pyproject.toml allows

Poetry is taken from the PATH, or installed into a temporary environment for this one run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = '\n[[tool.poetry.source]]\nname = "pip-index"\nurl = "{url}"\npriority = "primary"\n'
SOURCE_BLOCK = re.compile(r"\n\[package\.source\]\n(?:[a-z_]+ = .*\n)+")
CONTENT_HASH = re.compile(r'^content-hash = "[0-9a-f]{64}"$', re.MULTILINE)


def pip_index() -> str:
    """The URL of the index pip installs from: configured, or its own default."""
    from pip._internal.models.index import PyPI  # pip states its default nowhere else

    if url := os.environ.get("PIP_INDEX_URL"):
        return url
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"],
        capture_output=True,
        encoding="utf-8",
    )
    return asked.stdout.strip() or str(PyPI.simple_url)


def content_hash(pyproject: str) -> str:
    """What Poetry (2.3 and later) writes as ``content-hash`` for a pyproject.toml without legacy sections."""
    data = tomllib.loads(pyproject)
    project = {
        key: data["project"][key]
        for key in ("requires-python", "dependencies", "optional-dependencies")
        if key in data["project"]
    }
    relevant: dict[str, object] = {"project": project, "tool": {"poetry": {}}}
    if groups := data.get("dependency-groups"):
        relevant["dependency-groups"] = groups
    if own := data.get("tool", {}).get("poetry", {}).get("group"):
        relevant["tool"] = {"poetry": {"group": own}}
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()


def poetry_command(folder: Path) -> str:
    """Poetry on the PATH, else a fresh one under ``folder``."""
    if found := shutil.which("poetry"):
        return found
    print("poetry is not on the PATH: installing one for this run", flush=True)
    venv.create(folder, with_pip=True)
    subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "-q", "poetry>=2.3,<3"], check=True)
    return str(folder / "bin" / "poetry")


def lock(upgrade: bool) -> None:
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="ehrbench-lock-") as name:
        copy = Path(name) / "project"
        copy.mkdir()
        (copy / "README.md").touch()
        (copy / "pyproject.toml").write_text(pyproject + SOURCE.format(url=pip_index()), encoding="utf-8")
        if (ROOT / "poetry.lock").exists() and not upgrade:
            shutil.copy(ROOT / "poetry.lock", copy)
        command = [poetry_command(Path(name) / "poetry"), "lock", "--no-interaction"]
        environment = os.environ | {"POETRY_VIRTUALENVS_CREATE": "false"}
        subprocess.run(command + ["--regenerate"] * upgrade, cwd=copy, env=environment, check=True)
        text = (copy / "poetry.lock").read_text(encoding="utf-8")
    text = SOURCE_BLOCK.sub("", text)
    text = CONTENT_HASH.sub(f'content-hash = "{content_hash(pyproject)}"', text)
    (ROOT / "poetry.lock").write_text(text, encoding="utf-8")
    print(f"poetry.lock: {text.count('[[package]]')} packages")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--upgrade", action="store_true", help="newest allowed versions of everything")
    try:
        lock(parser.parse_args().upgrade)
    except subprocess.CalledProcessError as error:
        print(f"lock: {error.cmd[0]} failed with {error.returncode}, see above", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
