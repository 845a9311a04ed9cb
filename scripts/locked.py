#!/usr/bin/env python3
"""Say what poetry.lock holds in the words of pip, so that a machine with only Python and pip can install it.

    scripts/locked.py constraints [--torch any|cpu|cuda]    a constraints file for pip
    scripts/locked.py dev                                   requirements of the dev group
    scripts/locked.py digest                                changes when an environment must be made again

Needs nothing but the standard library of Python 3.11: it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

#: torch pins its CUDA libraries itself; the lock holds some of them twice, under markers that overlap.
PINNED_BY_TORCH = re.compile(r"^(nvidia-|cuda-|triton$)")

#: PyTorch labels its Linux CPU builds "+cpu". Asked for by label, no CUDA build can be downloaded instead;
#: and with the label refused, a CPU build lying about is not taken on a machine with a GPU.
TORCH = {"any": "{0}", "cpu": "{0}+cpu", "cuda": "{0},!={0}+cpu"}


def constraints(lock: dict[str, Any], torch: str) -> Iterator[str]:
    """One line for each locked package: ``name==version`` and the marker under which it holds."""
    for package in lock["package"]:
        name, version = package["name"], package["version"]
        if PINNED_BY_TORCH.match(name):
            continue
        if name == "torch":
            version = TORCH[torch].format(version)
        marker = marker_of(package)
        yield f"{name}=={version}" + (f" ; {marker}" if marker else "")


def marker_of(package: dict[str, Any]) -> str:
    """The package's marker over all its groups; empty where one of them needs it everywhere.

    An extra's own marker is left out: pip would take a constraint under it as never meant.
    """
    marker = package.get("markers", "")
    if isinstance(marker, str):
        return re.sub(r'( and )?\(?extra == "[^"]*"\)?( and )?', "", marker)
    if set(marker) != set(package["groups"]):
        return ""
    return " or ".join(f"({part})" for part in dict.fromkeys(marker.values()))


def dev_requirements(pyproject: dict[str, Any]) -> Iterator[str]:
    """The dev group as pip reads requirements: ``pytest (>=8,<10)`` becomes ``pytest>=8,<10``."""
    for requirement in pyproject["dependency-groups"]["dev"]:
        yield re.sub(r"\s*\(([^)]*)\)", r"\1", requirement)


def digest(*files: Path) -> str:
    h = hashlib.sha256()
    for file in files:
        h.update(file.read_bytes())
    return h.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["constraints", "dev", "digest"])
    parser.add_argument("--torch", choices=sorted(TORCH), default="any", help="which build of torch")
    options = parser.parse_args()
    lock, pyproject = ROOT / "poetry.lock", ROOT / "pyproject.toml"
    if options.what == "digest":
        print(digest(lock, pyproject))
        return
    if options.what == "dev":
        lines = dev_requirements(tomllib.loads(pyproject.read_text(encoding="utf-8")))
    else:
        lines = constraints(tomllib.loads(lock.read_text(encoding="utf-8")), options.torch)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
