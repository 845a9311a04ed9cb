"""Settings, compose and images: whole, and with no more in them than they need."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import yaml
from packaging.utils import canonicalize_name

from ehrbench.infra.settings import Environment
from tests.repository.conftest import script

ROOT = Path(__file__).resolve().parents[2]


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
    locked = script("locked")
    installed = locked.closure(lock, locked.served()).keys()
    owners = packages_distributions()
    hidden = sorted(
        module
        for module, distributions in owners.items()
        if not {canonicalize_name(d) for d in distributions} & {*installed, "ehrbench", "setuptools"}
    )
    # not None in sys.modules: SciPy takes a module there for one that is installed
    code = (
        "import sys\n"
        "class Hiding:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name in {set(hidden)!r}:\n"
        "            raise ModuleNotFoundError(f'{name} is not installed', name=name)\n"
        "sys.meta_path.insert(0, Hiding())\n"
        "import lightgbm, onnxruntime\n"
        "import importlib, pkgutil\n"
        "rooms = 'core', 'ensemble', 'features', 'monitor', 'runtime', 'serve', 'tasks'\n"
        "for name in ('app.command.cli', *rooms):\n"
        "    package = importlib.import_module(f'ehrbench.{name}')\n"
        "    for found in pkgutil.iter_modules(getattr(package, '__path__', []), f'{package.__name__}.'):\n"
        "        importlib.import_module(found.name)\n"
        "try:\n"
        "    import torch\n"
        "except ModuleNotFoundError:\n"
        "    sys.exit()\n"
        "sys.exit('torch was not hidden')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
