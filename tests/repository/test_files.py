"""Files and texts: what the repository must hold, and what it must never contain."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
LARGEST_FILE_BYTES = 1024 * 1024


def tracked() -> list[Path]:
    """Files that git tracks (the working tree's state of them)."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [path for name in listed.decode().split("\0") if name and (path := ROOT / name).is_file()]


def texts() -> Iterator[tuple[str, str]]:
    for path in tracked():
        try:
            yield path.relative_to(ROOT).as_posix(), path.read_text()
        except UnicodeDecodeError:
            continue


def test_no_tracked_file_is_large() -> None:
    large = {str(p.relative_to(ROOT)): p.stat().st_size for p in tracked()}
    assert {name: size for name, size in large.items() if size > LARGEST_FILE_BYTES} == {}


@pytest.mark.parametrize(
    "parts",
    [
        ("py", "pi.org"),
        ("python", "hosted.org"),
        ("download.", "pytorch.org"),
        ("anaconda", ".org"),
        ("/wo", "rk/"),
    ],
)
def test_no_package_host_or_machine_path_is_named(parts: tuple[str, str]) -> None:
    pattern = re.compile(r"(?<![\w.])" + re.escape("".join(parts)))
    assert [name for name, text in texts() if pattern.search(text)] == []


def test_no_two_classes_of_the_package_have_one_name() -> None:
    """A name in a message, a docstring or a search then means one thing."""
    named: dict[str, list[str]] = {}
    for path in sorted((ROOT / "ehrbench").rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                named.setdefault(node.name, []).append(path.relative_to(ROOT).as_posix())
    assert {name: places for name, places in named.items() if len(places) > 1} == {}


def test_no_data_file_is_tracked() -> None:
    data = {".csv", ".parquet", ".gz", ".zip", ".xz", ".jpg", ".jpeg", ".db", ".ckpt", ".pkl", ".pt"}
    results = ROOT / "experiments" / "results"  # recorded figures are allowed
    assert [p for p in tracked() if p.suffix in data and results not in p.parents] == []


@pytest.mark.parametrize("path", sorted((ROOT / "ehrbench" / "conf").rglob("*.yaml")), ids=lambda p: p.stem)
def test_configuration_parses_and_says_why(path: Path) -> None:
    text = path.read_text()
    yaml.safe_load(text)
    assert re.search(r"(^|\s)#(?! @package)", text, re.MULTILINE), "no comment says what this is for"


def test_links_in_the_documentation_lead_somewhere() -> None:
    dead = []
    for page in [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]:
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            if not re.match(r"[a-z]+:", target) and not (page.parent / target).exists():
                dead.append(f"{page.relative_to(ROOT)}: {target}")
    assert dead == []


def test_text_is_read_and_written_as_utf8() -> None:
    """Not as the machine's locale has it: a run made here must be the same run there."""
    forgotten = []
    for path in tracked():
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] != "tests":
            for node in ast.walk(ast.parse(path.read_bytes())):
                if isinstance(node, ast.Call) and _opens_text(node):
                    forgotten.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert forgotten == [], 'say encoding="utf-8"'


def _opens_text(call: ast.Call) -> bool:
    """Whether the call opens a text file, or a process's text, in an encoding that it does not name."""
    function, named = call.func, {keyword.arg: keyword.value for keyword in call.keywords}
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if named.keys() & {"encoding", "fileobj"}:  # the latter is an archive's
        return False
    if name == "open":
        given = call.args[isinstance(function, ast.Name) :]  # open(path, mode), path.open(mode)
        mode = named.get("mode", given[0] if given else ast.Constant("r"))
        return isinstance(mode, ast.Constant) and "b" not in str(mode.value)
    return name in ("read_text", "write_text") or "text" in named or "universal_newlines" in named
