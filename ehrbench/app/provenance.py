"""Provenance: the commit, the package versions and the plugins that made a figure."""

from __future__ import annotations

import subprocess
from importlib.metadata import version
from pathlib import Path

from ehrbench import __version__
from ehrbench.core import plugins
from ehrbench.core.digest import digest

PACKAGES = (
    "optuna",
    "numpy",
    "scipy",
    "scikit-learn",
    "torch",
    "lightgbm",
    "onnxruntime",
)


def versions() -> dict[str, str]:
    """Package -> version, those of plugins among them."""
    added = {package: plugins.version(package) for package in plugins.packages()}
    return {"ehrbench": __version__, **{name: version(name) for name in PACKAGES}, **added}


def plugin_sources() -> dict[str, str]:
    """Plugin -> digest of all its code; what of it a study uses, the ledger has module by module."""
    found = {}
    for package in plugins.packages():
        files = [file for folder in plugins.folders_of(package) for file in sorted(folder.rglob("*.py"))]
        found[package] = digest([[file.name, file.read_bytes()] for file in files])
    return found


def git_commit() -> str:
    """The checkout's commit, "+" behind it where the tree has changes; "unknown" outside a checkout."""
    here = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(here), *words],
            capture_output=True,
            encoding="utf-8",
            errors="replace",  # a changed file's name need not be text
            timeout=30,
            check=False,
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        if not git("ls-files", "--", Path(__file__).name):  # installed, perhaps within another repository
            return "unknown"
        commit = git("rev-parse", "HEAD")
        return (commit + "+" * bool(git("status", "--porcelain", "-uno"))) or "unknown"
    except (OSError, subprocess.SubprocessError):
        return "unknown"
