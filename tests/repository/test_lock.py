"""The lock and what is declared: one set of versions, for every import and every machine."""

from __future__ import annotations

import ast
import sys
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.repository.conftest import script

ROOT = Path(__file__).resolve().parents[2]


def test_lock_was_made_from_this_pyproject(lock: dict[str, Any]) -> None:
    expected = script("lock").content_hash((ROOT / "pyproject.toml").read_text())
    assert lock["metadata"]["content-hash"] == expected, "pyproject.toml has changed: run scripts/lock.py"


def test_lock_names_no_package_index(lock: dict[str, Any]) -> None:
    assert [p["name"] for p in lock["package"] if "source" in p] == []


def test_lock_satisfies_every_declared_requirement(lock: dict[str, Any], pyproject: dict[str, Any]) -> None:
    versions: dict[str, list[Version]] = {}
    for package in lock["package"]:
        versions.setdefault(package["name"], []).append(Version(package["version"]))
    declared = pyproject["project"]["dependencies"] + pyproject["dependency-groups"]["dev"]
    for requirement in map(Requirement, declared):
        found = versions[canonicalize_name(requirement.name)]
        assert all(requirement.specifier.contains(v, prereleases=True) for v in found), requirement


def test_lock_holds_a_torch_that_a_local_cpu_wheel_can_satisfy(lock: dict[str, Any]) -> None:
    (torch,) = (p for p in lock["package"] if p["name"] == "torch")
    assert torch["version"].startswith("2.13.")
    lines = list(script("locked").constraints(lock, "cpu"))
    assert f"torch=={torch['version']}+cpu" in lines
    assert not [line for line in lines if line.startswith(("nvidia-", "cuda-", "triton="))]


def test_lock_gives_one_constraint_a_package_on_every_supported_machine(lock: dict[str, Any]) -> None:
    for python in ("3.11", "3.12", "3.13"):
        for system, platform in (("Linux", "linux"), ("Darwin", "darwin"), ("Windows", "win32")):
            environment = {"python_version": python, "platform_system": system, "sys_platform": platform}
            names = []
            for line in script("locked").constraints(lock, "any"):
                requirement = Requirement(line)
                if requirement.marker is None or requirement.marker.evaluate(environment):
                    names.append(requirement.name)
            assert sorted(set(names)) == sorted(names)
            assert {"torch", "numpy", "pytest", "s3fs"} <= set(names)


def test_lock_is_what_this_environment_has(lock: dict[str, Any], pyproject: dict[str, Any]) -> None:
    declared = pyproject["project"]["dependencies"] + pyproject["dependency-groups"]["dev"]
    wanted = {canonicalize_name(Requirement(text).name) for text in declared}
    for package in lock["package"]:
        marker = script("locked").marker_of(package)
        if package["name"] in wanted and (not marker or Marker(marker).evaluate()):
            assert Version(version(package["name"])).public == package["version"], (
                f"{package['name']}: run scripts/environment.sh --dev"
            )


#: What a server uses in an environment of its own: it pins plotly < 6, DVC plotly 7.
ELSEWHERE = {"evidently"}


def imports(folder: str) -> set[str]:
    """Top-level names of third-party modules imported anywhere in the Python files of a folder."""
    names = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"ehrbench", "tests", "benchmarks"}


@pytest.mark.parametrize(("folder", "dev"), [("ehrbench", False), ("experiments", False), ("tests", True)])
def test_every_import_is_a_declared_dependency(pyproject: dict[str, Any], folder: str, dev: bool) -> None:
    extras = [text for extra in pyproject["project"]["optional-dependencies"].values() for text in extra]
    declared = [*pyproject["project"]["dependencies"], *extras]
    declared += pyproject["dependency-groups"]["dev"] if dev else []
    known = {canonicalize_name(Requirement(text).name) for text in declared}
    owners = packages_distributions()
    undeclared = {
        name
        for name in imports(folder)
        if not {canonicalize_name(d) for d in owners.get(name, [name])} & known
    }
    undeclared -= ELSEWHERE
    assert undeclared == set(), "declare them in pyproject.toml, then run scripts/lock.py"
