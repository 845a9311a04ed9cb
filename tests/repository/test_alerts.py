"""Alert rules: as Prometheus and Alertmanager read them, on series that a server really gives."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from ehrbench.infra.database import Database
from ehrbench.serve.store import PredictionStore
from tests.infra.servers import absent
from tests.runtime.conftest import toy_bundle
from tests.serve.conftest import JSON, RECORD, running

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "docker" / "monitoring"
#: Of Prometheus itself.
ITS_OWN = {"up"}


def tool(name: str, *arguments: str | Path) -> None:
    if shutil.which(name) is None:
        absent(name, "apt-get install prometheus prometheus-alertmanager")
    done = subprocess.run([name, *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_its_configuration_and_raises_what_it_must() -> None:
    tool("promtool", "check", "config", MONITORING / "prometheus.yml")
    tool("promtool", "test", "rules", MONITORING / "alerts_test.yml")


def test_alertmanager_takes_its_configuration(tmp_path: Path) -> None:
    text = (MONITORING / "alertmanager.yml").read_text()
    # Debian's amtool is older than url_file
    (tmp_path / "checked.yml").write_text(re.sub("url_file: .*", "url: http://localhost/", text))
    tool("amtool", "check-config", tmp_path / "checked.yml")


def test_rules_ask_for_series_that_a_server_gives(tmp_path: Path) -> None:
    store = PredictionStore(Database.sqlite(tmp_path / "kept.db").engine)
    with running(toy_bundle(tmp_path / "bundle", "binary"), store=store) as client:
        client.post("/predict", json=RECORD, headers=JSON)
        client.get("/monitoring")
        text = client.get("/metrics").text
    given = set(re.findall(r"^(\w+)(?:\{| )", text, re.MULTILINE)) | ITS_OWN
    groups = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    asked = {name for rule in rules for name in re.findall(r"\b(?:ehrbench_\w+|up)\b", rule["expr"])}
    assert len(asked) >= 8
    assert asked <= given
    kinds = {
        k
        for rule in rules
        for names in re.findall(r'kind=~"([^"]+)"', rule["expr"])
        for k in names.split("|")
    }
    assert kinds == set(re.findall(r'ehrbench_monitoring_alarms\{kind="(\w+)"', text))


@pytest.mark.parametrize("name", ["prometheus", "alertmanager"])
def test_compose_starts_them_with_these_files(name: str) -> None:
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"][name]
    place, file = next(
        argument.removeprefix("--config.file=").rsplit("/", 1)
        for argument in service["command"]
        if argument.startswith("--config.file=")
    )
    assert f"./docker/monitoring:{place}:ro" in service["volumes"]
    assert (MONITORING / file).is_file()
