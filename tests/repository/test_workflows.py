"""What .github holds is what its services read, has no door for strangers, and fits the project.

Whether a workflow does on GitHub what it should, only GitHub can tell. actionlint is here a fork that pip
installs whole; lint.yml has its author's own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from tests.repository.conftest import ROOT, script

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = [path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config"]
BY_SCHEMA = {
    "github-workflows": WORKFLOWS,
    "github-issue-forms": FORMS,
    "github-issue-config": [ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml"],
    "dependabot": [ROOT / ".github" / "dependabot.yml"],
    "citation-file-format": [ROOT / "CITATION.cff"],
    "compose-spec": [ROOT / "docker-compose.yml"],
}


def by_schema(name: str, *files: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        f"vendor.{name}",
        *map(str, files),
    ]
    return subprocess.run(command, capture_output=True, text=True)


def workflow(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(
        (ROOT / ".github" / "workflows" / name).read_text(encoding="utf-8")
    )
    return content


def steps() -> Iterator[tuple[str, str]]:
    """(workflow, shell script) of every step that has one, expressions put as words."""
    for path in WORKFLOWS:
        for job in workflow(path.name)["jobs"].values():
            for step in job["steps"]:
                if "run" in step:
                    yield path.stem, step["run"]


def matrices(name: str, key: str) -> list[list[str]]:
    jobs = workflow(name)["jobs"].values()
    return [
        job["strategy"]["matrix"][key] for job in jobs if key in job.get("strategy", {}).get("matrix", {})
    ]


@pytest.mark.parametrize("schema", BY_SCHEMA)
def test_it_is_what_its_service_reads(schema: str) -> None:
    assert BY_SCHEMA[schema]
    done = by_schema(schema, *BY_SCHEMA[schema])
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_workflow_of_another_shape_would_be_noticed(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yml"
    broken.write_text((ROOT / ".github" / "workflows" / "lint.yml").read_text().replace("runs-on", "run-on"))
    assert by_schema("github-workflows", broken).returncode == 1


def actionlint(*files: Path) -> subprocess.CompletedProcess[str]:
    program = str(Path(sys.executable).with_name("actionlint"))
    return subprocess.run([program, *map(str, files)], cwd=ROOT, capture_output=True, text=True)


def test_what_a_schema_cannot_see_is_right_too(tmp_path: Path) -> None:
    done = actionlint(*WORKFLOWS)
    assert done.returncode == 0, done.stdout
    unknown = tmp_path / "unknown.yml"
    unknown.write_text(
        (ROOT / ".github" / "workflows" / "docs.yml").read_text().replace("steps.pages.", "steps.page.")
    )
    assert 'property "page" is not defined' in actionlint(unknown).stdout


def test_no_workflow_has_a_door_for_strangers(tmp_path: Path) -> None:
    zizmor = str(Path(sys.executable).with_name("zizmor"))
    done = subprocess.run([zizmor, "--offline", ".github"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    (tmp_path / ".github" / "workflows").mkdir(parents=True)
    open_door = (
        (ROOT / ".github" / "workflows" / "model.yml")
        .read_text()
        .replace('"data.root=$ROOT"', "data.root=${{ github.event.client_payload.root }}")
    )
    (tmp_path / ".github" / "workflows" / "model.yml").write_text(open_door)
    done = subprocess.run([zizmor, "--offline", ".github"], cwd=tmp_path, capture_output=True, text=True)
    assert "template-injection" in done.stdout


@pytest.mark.parametrize(("name", "text"), steps())
def test_a_step_is_a_shell_script_of_commands_that_are_there(name: str, text: str) -> None:
    assert "${{" not in text, "say it in env: a value would be run as text"
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    for command in re.findall(r"(?<![\w/])(?:scripts/[\w.]+|\.ci/run)", text):
        assert os.access(ROOT / command, os.X_OK), command


def test_tests_run_on_every_python_and_on_torchs_oldest_and_newest(pyproject: dict[str, Any]) -> None:
    supported = SpecifierSet(pyproject["project"]["requires-python"])
    pythons = [f"3.{minor}" for minor in range(8, 30) if Version(f"3.{minor}") in supported]
    assert matrices("tests.yml", "python") == [pythons, pythons]  # on Linux and macOS
    (torch,) = (text for text in pyproject["project"]["dependencies"] if text.startswith("torch "))
    accepted = SpecifierSet(torch.split("(")[1].rstrip(")"))
    minors = [f"2.{minor}" for minor in range(60) if Version(f"2.{minor}") in accepted]
    assert matrices("tests.yml", "torch") == [[minors[0], minors[-1]]]


def test_every_image_is_built_and_released() -> None:
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    stages = dict(re.findall(r"^FROM (\S+) AS (\w+)$", dockerfile, re.MULTILINE))
    named = re.findall(r"^FROM \S+ AS (\w+)$", dockerfile, re.MULTILINE)
    targets = [name for name in named if name not in ("base", "environment", "project")]
    assert stages
    assert [sorted(found) for found in matrices("images.yml", "target")] == [sorted(targets)]
    assert [sorted(found) for found in matrices("release.yml", "target")] == [sorted(targets)]


def test_the_citation_is_of_this_version(pyproject: dict[str, Any]) -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (cited["version"], cited["license"]) == (
        pyproject["project"]["version"],
        pyproject["project"]["license"],
    )


def test_a_release_says_what_the_changelog_says() -> None:
    changelog = "## [Unreleased]\n- b\n\n## [0.2.0] - 2026-12-01\n\n### Added\n\n- it\n\n## [0.1.0]\n"
    section = script("changes").section
    assert section(changelog, "0.2.0") == "### Added\n\n- it"
    assert section(changelog, "0.1.0") == section(changelog, "0.3.0") == ""


@pytest.mark.parametrize(
    ("version", "message"),
    [("9.9.9", "changes: 9.9.9 is not pyproject.toml's version"), ("", "changes: give one version")],
)
def test_a_release_of_another_version_is_refused(version: str, message: str) -> None:
    command = [sys.executable, "scripts/changes.py", *filter(None, [version])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1
