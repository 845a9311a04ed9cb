#!/usr/bin/env python3
"""Say what poetry.lock holds in the words of pip, so that a machine with only Python and pip can install it.

    scripts/locked.py constraints [--torch any|cpu|cuda]    a constraints file for pip
    scripts/locked.py dev                                   requirements of the dev group
    scripts/locked.py shipped                               what every installation has: name==version
    scripts/locked.py served                                what the server's image has
    scripts/locked.py digest                                changes when an environment must be made again

Needs nothing but the standard library of Python 3.11: it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

#: torch pins its CUDA libraries itself; the lock holds some of them twice, under markers that overlap.
PINNED_BY_TORCH = re.compile(r"^(nvidia-|cuda-|triton$)")

#: PyTorch labels its Linux CPU builds "+cpu". Asked for by label, no CUDA build can be downloaded instead;
#: and with the label refused, a CPU build lying about is not taken on a machine with a GPU.
TORCH = {"any": "{0}", "cpu": "{0}+cpu", "cuda": "{0},!={0}+cpu"}

#: What a dependency's marker says that no Linux image meets.
ELSEWHERE = re.compile(r"""extra ==|== "(win32|Windows|darwin|Darwin)"|optional': True""")


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

    An extra counts as wanted: pip would take a constraint under its marker as never meant.
    """
    marker = package.get("markers", "")
    if not isinstance(marker, str):
        if set(marker) != set(package["groups"]):
            return ""
        marker = " or ".join(f"({part})" for part in dict.fromkeys(marker.values()))
    kept: list[str] = []  # what stood in parentheses

    def inner(found: re.Match[str]) -> str:
        if (part := _without_true(found[1])) == "true":
            return part
        kept.append(f"({part})")
        return f"{{{len(kept) - 1}}}"

    marker = re.sub(r'extra == "[^"]*"', "true", marker)
    while "(" in marker:
        marker = re.sub(r"\(([^()]*)\)", inner, marker)
    marker = _without_true(marker)
    while "{" in marker:
        marker = re.sub(r"\{(\d+)\}", lambda found: kept[int(found[1])], marker)
    return "" if marker == "true" else marker


def _without_true(marker: str) -> str:
    """A marker without parentheses, of whose parts some are "true"."""
    terms = [[one for one in term.split(" and ") if one != "true"] for term in marker.split(" or ")]
    return " or ".join(" and ".join(term) for term in terms) if all(terms) else "true"


def dev_requirements(pyproject: dict[str, Any]) -> Iterator[str]:
    """The dev group as pip reads requirements: ``pytest (>=8,<10)`` becomes ``pytest>=8,<10``."""
    for requirement in pyproject["dependency-groups"]["dev"]:
        yield re.sub(r"\s*\(([^)]*)\)", r"\1", requirement)


def closure(lock: dict[str, Any], wanted: Iterable[str]) -> dict[str, str]:
    """Version by name of the wanted packages and of all that they need in turn, on Linux and without extras.

    Of a package locked in several versions it is the one for the oldest Python, which images have.
    """
    packages = {package["name"]: package for package in reversed(lock["package"])}
    waiting, found = list(wanted), {}
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()  # as the lock spells names
        if name not in found:
            found[name] = packages[name]["version"]
            needs = packages[name].get("dependencies", {})
            waiting += [need for need, how in needs.items() if not ELSEWHERE.search(str(how))]
    return dict(sorted(found.items()))


def served() -> list[str]:
    """Names in docker/api.txt: what the server's image asks for."""
    text = (ROOT / "docker" / "api.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def shipped(pyproject: dict[str, Any]) -> list[str]:
    """Names of what every installation asks for."""
    return [re.split(r"[\s\[(]", requirement)[0] for requirement in pyproject["project"]["dependencies"]]


def digest(*files: Path) -> str:
    h = hashlib.sha256()
    for file in files:
        h.update(file.read_bytes())
    return h.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["constraints", "dev", "shipped", "served", "digest"])
    parser.add_argument("--torch", choices=sorted(TORCH), default="any", help="which build of torch")
    options = parser.parse_args()
    lock_file, pyproject_file = ROOT / "poetry.lock", ROOT / "pyproject.toml"
    if options.what == "digest":
        print(digest(lock_file, pyproject_file))
        return
    lock, pyproject = (tomllib.loads(f.read_text(encoding="utf-8")) for f in (lock_file, pyproject_file))
    lines: Iterable[str]
    match options.what:
        case "dev":
            lines = dev_requirements(pyproject)
        case "constraints":
            lines = constraints(lock, options.torch)
        case what:
            names = served() if what == "served" else shipped(pyproject)
            lines = (f"{name}=={version}" for name, version in closure(lock, names).items())
    print("\n".join(lines))


if __name__ == "__main__":
    main()
