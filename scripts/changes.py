#!/usr/bin/env python3
"""Print what CHANGELOG.md says of a version, for its release; refuse a version that is not the project's own.

    scripts/changes.py 0.2.0

Needs nothing but the standard library of Python 3.11.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def section(changelog: str, version: str) -> str:
    """What stands under ``## [version]``, a date behind it or not; empty where there is no such section."""
    head = re.escape(f"## [{version}]")
    found = re.search(rf"^{head}.*\n(?P<text>(?:(?!^## ).*\n?)*)", changelog, re.MULTILINE)
    return found["text"].strip() if found else ""


def main() -> int:
    if len(sys.argv) != 2:
        print("changes: give one version — scripts/changes.py 0.2.0", file=sys.stderr)
        return 2
    version = sys.argv[1]
    own = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    if version != own:
        print(
            f"changes: {version} is not pyproject.toml's version {own} — set it there first", file=sys.stderr
        )
        return 2
    text = section((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    if not text:
        remedy = "give what stands under Unreleased that heading"
        print(f"changes: CHANGELOG.md has no section [{version}] — {remedy}", file=sys.stderr)
        return 2
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
