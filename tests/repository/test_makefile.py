"""``make`` lists its targets, and each is a command that the README shows."""

from __future__ import annotations

import re
import subprocess

from tests.repository.conftest import ROOT

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def made(*arguments: str) -> str:
    done = subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def targets() -> list[str]:
    (named,) = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    return named.split()


def test_help_lists_every_target() -> None:
    listed = re.findall(r"^  make (\S+) +\S", made(), re.MULTILINE)
    assert listed == targets() == re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE)


def test_every_target_is_a_command_of_the_readme() -> None:
    """Without the folder of the environment, which the README activates; Compose's stand at its own top."""
    shown = (ROOT / "README.md").read_text(encoding="utf-8")
    shown += (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    shown += (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for target in targets()[1:]:
        for line in made("--dry-run", target, "BUNDLE=BUNDLE").replace("\\\n", "").splitlines():
            command = line.strip().replace(".venv/bin/", "")
            if target == "sbom":
                command = "make sbom"  # a pipe of two, which nobody types
            known = re.sub(r"--bundle \S+", "--bundle", shown)
            assert command.removesuffix(" BUNDLE") in known, f"make {target}: {command}"


def test_arguments_are_handed_on() -> None:
    assert (
        made("--dry-run", "search", "ARGS=n_trials=3 seed=1")
        .strip()
        .endswith("ehrbench search n_trials=3 seed=1")
    )
