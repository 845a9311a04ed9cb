"""Provenance: the commit, the package versions and the plugins that made a figure, and what no commit has."""

from __future__ import annotations

import subprocess
import sysconfig
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from ehrbench import __version__
from ehrbench.app.wired.study_code import files_of
from ehrbench.core import plugins
from ehrbench.core.bundle import file_digest
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
    """The checkout's commit, "+" behind it where the tree has changes; "unknown" outside a checkout.

    A module of this package that nobody has added counts as a change; other files that git does not know of
    (data, runs, notes) do not.
    """
    here = Path(__file__).resolve()
    if not _git(here.parent, "ls-files", "--", here.name):  # installed, perhaps within another repository
        return "unknown"
    package = str(here.parent.parent)
    changes = _git(here.parent, "status", "--porcelain", "-uno") or _git(
        here.parent, "ls-files", "--others", "--", f"{package}/*.py"
    )
    return (_git(here.parent, "rev-parse", "HEAD") + "+" * bool(changes)) or "unknown"


@dataclass(frozen=True)
class Uncommitted:
    """A module that no commit has as it ran. why: ``untracked``, ``changed`` or ``in no repository``."""

    module: str
    path: Path
    sha256: str
    why: str


def uncommitted(modules: Iterable[str]) -> list[Uncommitted]:
    """Of these modules, those whose text no commit and no installed version says."""
    installed = {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")}
    by_root: dict[Path | None, dict[str, Path]] = defaultdict(dict)
    for module, path in files_of(modules).items():
        path = path.resolve()
        if installed.isdisjoint(path.parents):  # the version of what is installed is told
            by_root[_repository(path)][module] = path
    found = []
    for root, files in by_root.items():
        why = _states(root, list(files.values()))
        found += [Uncommitted(m, p, file_digest(p), why[p]) for m, p in files.items() if p in why]
    return sorted(found, key=lambda one: one.module)


def _repository(path: Path) -> Path | None:
    return next((folder for folder in path.parents if (folder / ".git").exists()), None)


def _states(root: Path | None, files: Sequence[Path]) -> dict[Path, str]:
    """File -> why no commit has it as it is; those that one has are left out."""
    if root is None:
        return dict.fromkeys(files, "in no repository")
    names = [str(path.relative_to(root)) for path in files]
    known = set(_git(root, "ls-files", "-z", "--", *names).split("\0"))
    changed = set(_git(root, "diff", "--name-only", "-z", "HEAD", "--", *names).split("\0"))
    states = {}
    for path, name in zip(files, names, strict=True):
        if name not in known:
            states[path] = "untracked"
        elif name in changed:
            states[path] = "changed"
    return states


def _git(folder: Path, *words: str) -> str:
    """What git says there; "" where it is not installed, silent, or knows no repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            encoding="utf-8",
            errors="replace",  # a changed file's name need not be text
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
