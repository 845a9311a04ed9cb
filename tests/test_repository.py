"""The repository itself: what it locks, ships and must never contain."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions, version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from ehrbench.infra.settings import Environment

ROOT = Path(__file__).resolve().parent.parent
LARGEST_FILE_BYTES = 1024 * 1024


def script(name: str) -> ModuleType:
    """A file of scripts/, as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


@pytest.fixture(scope="module")
def lock() -> dict[str, Any]:
    return tomllib.loads((ROOT / "poetry.lock").read_text())


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


# --- the lock -------------------------------------------------------------------------------------------


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
    assert not [line for line in lines if line.startswith(("nvidia-", "cuda-", "triton"))]


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
    assert undeclared == set(), "declare them in pyproject.toml, then run scripts/lock.py"


# --- what is in the repository --------------------------------------------------------------------------


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
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if not re.match(r"[a-z]+:", target) and not (page.parent / target).exists():
                dead.append(f"{page.relative_to(ROOT)}: {target}")
    assert dead == []


#: Runs whose tables have other columns.
OTHER_METRICS = ("transcriptions-", "rr-rhythm-")


def test_figures_shown_are_those_recorded() -> None:
    """Of the README and of the tables beside the recorded runs: AUROC, AUPRC, and what stands after them."""
    results = ROOT / "experiments" / "results"
    recorded = {path.parent.name: json.loads(path.read_text()) for path in results.glob("*/summary.json")}
    of_protocol = {"hold-out a → b": "mortality-a-b", "nested 5x5, a + b": "mortality-nested"}
    of_protocol["nested 5x2, grouped"] = "diabetes-lightgbm"
    of_protocol["nested 5x2, by patient"] = "xray-kermany"
    shown: list[tuple[str, str, dict[str, str]]] = []  # run, model, column -> cell
    for line in (ROOT / "README.md").read_text().split("<!-- ")[1].splitlines():
        if len(cells := _cells(line)) == 5 and re.match(r"\d", cells[3]):
            run = of_protocol[cells[1]] if cells[1] else shown[-1][0]
            shown.append((run, cells[2], dict(zip(("AUROC", "AUPRC"), cells[3:], strict=True))))
    run, head = "", [""]
    for line in (results / "README.md").read_text().splitlines():
        run = line.removeprefix("## ") if line.startswith("## ") else run
        cells = _cells(line)
        head = cells if cells and cells[0].startswith(("model", "reading")) else head
        if (
            head[-1] == "AUROC, inner"
            and run in recorded
            and cells[:1]
            and cells[0] in recorded[run]["models"]
        ):
            shown.append((run, cells[0], dict(zip(head[1:], cells[1:], strict=True))))
    assert {run for run, _, _ in shown} == {run for run in recorded if not run.startswith(OTHER_METRICS)}
    assert len(shown) >= 26
    for run, model, cells in shown:
        found, inner = recorded[run]["models"][model], recorded[run]["selected"].get(model, {}).get("inner")
        expected = {"AUROC, inner": "" if inner is None else f"{inner:.4f}"}
        for name in ("auroc", "auprc"):
            end = found[name]["interval"]
            expected[name.upper()] = f"{found[name]['mean']:.4f} ({end['low']:.4f}–{end['high']:.4f})"
        for column, name, digits in (
            ("Event 1", "event1", 4),
            ("Event 2", "event2", 2),
            ("Brier", "brier", 4),
        ):
            if column in cells:
                expected[column] = f"{found[name]['mean']:.{digits}f}"
        assert cells.items() <= expected.items(), f"{run}: {model}"


def test_figures_shown_of_notes_and_beats_are_those_recorded() -> None:
    """By the table's head, to three digits, with the interval: a task of many classes has other metrics."""
    names = {
        "MAP": "mean_average_precision",
        "precision@1": "precision_at_1",
        "precision@3": "precision_at_3",
    }
    names |= {"micro F1": "micro_f1", "macro F1": "macro_f1", "F1": "f1", "event F1": "event_f1"}
    names |= {"run-end error": "run_end_error", "AUROC": "auroc", "AUPRC": "auprc"}
    results = ROOT / "experiments" / "results"
    seen, run, head = set(), "", [""]
    for line in (results / "README.md").read_text().splitlines():
        run = line.removeprefix("## ") if line.startswith("## ") else run
        if not run.startswith(OTHER_METRICS) or len(cells := _cells(line)) != 6:
            continue
        head = cells if cells[0].startswith("reading") else head
        recorded = json.loads((results / run / "summary.json").read_text())["models"]
        if cells[0] in recorded:
            values = [recorded[cells[0]][names[column]] for column in head[1:]]
            ends = [(v["mean"], v["interval"]["low"], v["interval"]["high"]) for v in values]
            assert cells[1:] == [f"{mean:.3f} ({low:.3f}–{high:.3f})" for mean, low, high in ends]
            seen.add((run, cells[0]))
    assert len(seen) == 8


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []


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


# --- settings and containers ----------------------------------------------------------------------------


def variables(env_file: Path) -> set[str]:
    return set(re.findall(r"^([A-Z_0-9]+)=", env_file.read_text(), re.MULTILINE))


def test_env_example_names_every_setting() -> None:
    assert {name.upper() for name in Environment.__dataclass_fields__} <= variables(ROOT / ".env.example")


def test_env_example_can_be_read_as_it_stands() -> None:
    settings = Environment.read(ROOT / ".env.example", {})
    assert (settings.optuna_host, settings.optuna_port) == ("localhost", 3306)
    assert settings.artifacts_url == settings.ehrbench_data == ""


def test_compose_services_are_whole() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    services = yaml.safe_load(text)["services"]
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    targets = set(re.findall(r"^FROM \S+ AS (\w+)$", dockerfile, re.MULTILINE))
    assert {"mysql", "mlflow", "worker", "train", "evaluate", "infer", "api"} <= set(services)
    for name, service in services.items():
        if "build" in service:
            assert service["build"]["target"] in targets, name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists(), f"{name}: {source}"
        if service.get("restart"):
            assert "healthcheck" in service, name
        for needed in service.get("depends_on", []):
            assert needed in services, name
    needed = set(re.findall(r"\$\{([A-Z_]+):\?", text))
    assert needed <= variables(ROOT / ".env.example")
    assert not re.search(r"PASSWORD: (?!\$\{)", text), "a password stands in docker-compose.yml"


def test_compose_builds_cuda_for_gpus_alone() -> None:
    """Where both are to be had, pip takes torch 2.x+cpu for newer than torch 2.x."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert services["worker-gpu"]["build"]["args"] == {"EHRBENCH_ALLOW_CUDA": "1"}
    assert "EHRBENCH_TORCH_WHEELS" in services["worker"]["build"]["args"]


def test_a_worker_without_a_search_is_not_healthy() -> None:
    """The check must not find the shell that runs it."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    kind, checked = compose["services"]["worker"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    assert f"CMD {checked}\n" in (ROOT / "docker" / "Dockerfile").read_text()
    name = f"search{os.getpid()}"
    command = ["sh", "-c", checked.replace("search", name)]
    assert subprocess.run(command).returncode == 1
    with subprocess.Popen(["sh", "-c", f"sleep 60; : experiments/{name}.py"]) as searching:
        try:
            assert subprocess.run(command).returncode == 0
        finally:
            searching.kill()


def test_dockerfile_copies_only_what_exists_and_is_let_through() -> None:
    let_through = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    copies = re.findall(r"^COPY (?!--)(.+) \S+$", (ROOT / "docker" / "Dockerfile").read_text(), re.MULTILINE)
    assert copies
    for source in " ".join(copies).split():
        assert list(ROOT.glob(source.rstrip("/"))), source
        assert any(source == entry or source.startswith(f"{entry}/") for entry in let_through), source


def test_served_bundles_need_only_what_the_api_image_installs(lock: dict[str, Any]) -> None:
    """Imports everything that serves with every other installed package hidden."""
    needs = {p["name"]: {canonicalize_name(n) for n in p.get("dependencies", {})} for p in lock["package"]}
    installed = set()
    waiting = [
        line for line in (ROOT / "docker" / "api.txt").read_text().splitlines() if line and line[0] != "#"
    ]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in installed:
            installed.add(name)
            waiting += needs[name]
    owners = packages_distributions()
    hidden = sorted(
        module
        for module, distributions in owners.items()
        if not {canonicalize_name(d) for d in distributions} & {*installed, "ehrbench", "setuptools"}
    )
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({hidden!r}))\n"
        "import lightgbm, onnxruntime\n"
        "import importlib, pkgutil\n"
        "for name in ('app.cli', 'core', 'ensemble', 'features', 'runtime', 'serve', 'tasks'):\n"
        "    package = importlib.import_module(f'ehrbench.{name}')\n"
        "    for found in pkgutil.iter_modules(getattr(package, '__path__', []), f'{package.__name__}.'):\n"
        "        importlib.import_module(found.name)\n"
        "assert 'torch' in sys.modules and sys.modules['torch'] is None\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
