"""Provenance: the commit and the package versions that made a figure."""

from __future__ import annotations

import subprocess
from importlib.metadata import version
from pathlib import Path

from ehrbench import __version__

PACKAGES = (
    "optuna",
    "numpy",
    "scipy",
    "scikit-learn",
    "torch",
    "pytorch-lightning",
    "lightgbm",
    "onnxruntime",
)


def versions() -> dict[str, str]:
    return {"ehrbench": __version__, **{name: version(name) for name in PACKAGES}}


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
