"""Traffic, and ``ehrbench monitor`` of what was kept of it, as commands on a real server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from omegaconf import OmegaConf

from ehrbench.app.command.cli import main
from ehrbench.app.command.simulating_traffic import AT_ONCE, PATTERNS, arrivals, order
from ehrbench.app.composed.conf import task_file
from ehrbench.core.bundle import CONFIG, write_checksums
from ehrbench.infra.database import Database
from ehrbench.publishers.physionet2012 import PhysioNet2012
from ehrbench.serve.store import PredictionStore
from ehrbench.tasks.mortality import Mortality
from tests.serve.conftest import running
from tests.serve.mortality import mortality_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whose configuration says where its task's outcomes are read."""
    made = mortality_bundle(tmp_path_factory.mktemp("traffic"))[0]
    block = OmegaConf.create({"metric": "auroc", "task": OmegaConf.load(task_file("mortality"))})
    del block.task.defaults
    block.task.publisher.cache = False
    (made / CONFIG).write_text(OmegaConf.to_yaml(block, resolve=True))
    write_checksums(made)
    return made


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stays of another simulation, the first 120 of which have ids that the bundle knows."""
    root = tmp_path_factory.mktemp("later")
    PhysioNet2012(Mortality(), cache=False).simulate(root, 1000, 9)
    return root


@pytest.fixture(scope="module")
def served(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Path]]:
    store = tmp_path_factory.mktemp("store") / "kept.db"
    with running(bundle, store=PredictionStore(Database.sqlite(store).engine)) as client:
        yield client, store


def test_older_patients_are_sent_and_monitored(
    served: tuple[httpx.Client, Path],
    bundle: Path,
    later: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client, store = served
    raw = later / "physionet2012" / "set-a.tar.gz"
    sent = ["simulate-traffic", str(client.base_url), "--bundle", str(bundle), "--input", str(raw)]
    sent += ["--root", str(later), "--sets", "a", "--rate", "1000", "--label-delay", "0.2"]
    assert main([*sent, "--pattern", "batch", "--drift", "Age", "--records", "400", "--seed", "1"]) == 0
    said = capsys.readouterr().out
    assert "left out, of the bundle's own training: " in said
    assert "400 predictions, 400 told" in said

    events: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            events.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Hook) as hook:
        threading.Thread(target=hook.serve_forever, daemon=True).start()
        monkeypatch.setenv("MONITOR_WEBHOOK", f"http://127.0.0.1:{hook.server_port}/x")
        page = tmp_path / "report.html"
        asked = ["monitor", str(bundle), "--store", str(store)]
        assert main([*asked, "--report", str(page), "--json"]) == 1  # calibrated by hand, so it is wrong
        hook.shutdown()
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert (found["records"], found["labelled"]) == (400, 400)
    assert "calibration of death" in captured.err
    assert "retrain" in captured.err
    (told,) = events
    assert (told["event"], told["bundle"], told["retrain"]) == ("monitoring", found["version"], True)
    assert 'id="found"' in page.read_text()
    monkeypatch.setenv("MONITOR_WEBHOOK", "")
    assert main(asked) == 1
    lines = capsys.readouterr().out
    assert "death: auroc by outcomes" in lines
    assert "promised 0.812 (0.790 to 0.834)" in lines
    assert "ALARM calibration of death" in lines


@pytest.mark.parametrize("pattern", ["poisson", "burst"])
def test_patterns_send_all_of_it(
    served: tuple[httpx.Client, Path],
    bundle: Path,
    later: Path,
    pattern: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    client, _ = served
    raw = later / "physionet2012" / "set-b.tar.gz"
    sent = ["simulate-traffic", str(client.base_url), "--bundle", str(bundle), "--input", str(raw)]
    assert main([*sent, "--rate", "500", "--pattern", pattern, "--records", "25"]) == 0
    assert "25 records" in (said := capsys.readouterr().out)
    assert "25 predictions, 0 told" in said  # without --root nobody knows what became of them


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--drift", "Height.of.the.bed"], "--drift: there is no column 'Height.of.the.bed'"),
        (["--rate", "0"], "--rate: is not above 0"),
        (["--label-delay", "-1"], "--label-delay: is not above 0"),
    ],
)
def test_what_cannot_be_sent_is_said(
    bundle: Path, later: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = later / "physionet2012" / "set-a.tar.gz"
    sent = ["simulate-traffic", "http://127.0.0.1:9", "--bundle", str(bundle), "--input", str(raw)]
    assert main([*sent, *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_store_that_is_none_is_said(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.db").write_text("no database")
    assert main(["monitor", str(bundle), "--store", str(tmp_path / "text.db")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_a_drift_favours_from_the_middle_on_and_takes_nobody_twice() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=2000)
    values[rng.random(2000) < 0.1] = np.nan
    sent = order(values, False, 2000, 1000, rng)
    assert len(np.unique(sent)) == 1000
    high = values[sent] > np.nanmedian(values)
    assert high[:500].mean() == pytest.approx(0.45, abs=0.06)
    assert high[500:].mean() > 0.6
    missing = np.isnan(values[order(values, True, 2000, 1000, rng)])
    assert missing[500:].mean() > 2 * missing[:500].mean()
    assert sorted(order(None, False, 10, 10, rng)) == list(range(10))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_arrivals_keep_their_rate(pattern: str) -> None:
    found = list(arrivals(pattern, 100.0, 2010, np.random.default_rng(0)))
    assert [start for _, start, _ in found] == [0, *(stop for *_, stop in found[:-1])]
    assert found[-1][2] == 2010
    assert found[-1][0] == pytest.approx(20.1, rel=0.1)
    assert {stop - start for _, start, stop in found[:-1]} == {1 if pattern == "poisson" else AT_ONCE}
