"""``ehrbench registry …`` from two tiny searches to a folder that is served, with every event told."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ehrbench.app.command.cli import main
from ehrbench.app.search.searching import search
from ehrbench.runtime.bundle import Bundle
from ehrbench.serve.deployments import DeploymentPlan
from tests.spine.composing import tiny_config

NAME = "tiny-beats/ensemble/all"
LENIENT = """
limits:
  metric: {margin: 0.5}
  calibration: {ece: 1.0, slope: [-9, 9]}
  latency: {most_ratio: 50.0}
  n_bootstrap: 200
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two searches over one hold-out, and one over other folds."""
    folder = tmp_path_factory.mktemp("runs")
    small = ("protocol.inner_folds=2", "n_trials=1", "report.explained=0")
    for name, more in (
        ("one", ()),
        ("two", ("models=[logistic,lightgbm]",)),
        ("three", ("models=[logistic]",)),
    ):
        protocol = "protocol=holdout" if name != "three" else "protocol=nested"
        config = tiny_config("beats", folder, protocol, f"study_name={name}", *small, *more)
        search(config)
    return folder


@pytest.fixture
def store(empty: Path, tmp_path: Path) -> Path:
    """A registry of its own for each test, and limits that a tiny task can keep."""
    (tmp_path / "registry").mkdir()
    shutil.copy(empty, tmp_path / "registry")
    (tmp_path / "lenient.yaml").write_text(LENIENT)
    return tmp_path


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What a real HTTP server is told at the environment's webhook."""
    taken: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("REGISTRY_WEBHOOK", f"http://127.0.0.1:{server.server_port}/hook")
    yield taken
    server.shutdown()
    server.server_close()


def said(capsys: pytest.CaptureFixture[str], store: Path, *arguments: object, code: int = 0) -> str:
    given = ["registry", *map(str, arguments), "--runs-dir", str(store / "registry")]
    assert main(given) == code, capsys.readouterr()
    out, error = capsys.readouterr()
    assert max(map(len, out.splitlines()), default=0) <= 80
    return out + error


def test_from_two_searches_to_a_served_folder_and_back(runs, store, events, capsys):
    lenient = ("--limits", store / "lenient.yaml")
    assert f"registered      {NAME}/1" in said(capsys, store, "register", runs / "one")
    assert "is not judged yet" in said(capsys, store, "promote", NAME, code=1)
    out = said(capsys, store, "gate", NAME, *lenient)
    assert "✓ evidence      outer tests, holdout s -> t: 120 records" in out
    assert "no champion to compare with" in out
    said(capsys, store, "promote", NAME)

    said(capsys, store, "register", runs / "two")
    assert "is not judged yet" in said(capsys, store, "deploy", f"{NAME}/2", store / "served", code=1)
    out = said(capsys, store, "gate", NAME, *lenient)
    assert "to the champion's" in out
    said(capsys, store, "promote", f"{NAME}/2")
    said(capsys, store, "deploy", NAME, store / "served")
    link = store / "served" / "champion"
    assert link.is_symlink()
    assert Bundle.load(link).manifest.study_name == "two"
    assert DeploymentPlan.read(store / "served").folders == {"champion": link}

    said(capsys, store, "rollback", NAME)
    said(capsys, store, "deploy", NAME, store / "served")
    assert Bundle.load(link).manifest.study_name == "one"
    assert "is withdrawn" in said(capsys, store, "promote", f"{NAME}/2", code=1)
    assert "no champion stood before it" in said(capsys, store, "rollback", NAME, code=1)

    assert [(event["event"], event["release"].rpartition("/")[2]) for event in events] == [
        *(("registered", "1"), ("approved", "1"), ("promoted", "1"), ("registered", "2"), ("approved", "2")),
        *(("promoted", "2"), ("deployed", "2"), ("rolled back", "1"), ("deployed", "1")),
    ]
    assert all(event["bundle"] for event in events)
    listed = said(capsys, store, "list")
    assert "approved, champion, promoted 20" in listed
    assert "withdrawn" in listed
    told = {one["version"]: one for one in json.loads(said_json(capsys, store))}
    assert told["2"]["checks"]["metric"]["limit"] == -0.5
    assert told["2"]["tags"]["gate.against"] == "1"


def said_json(capsys: pytest.CaptureFixture[str], store: Path) -> str:
    assert main(["registry", "list", "--json", "--runs-dir", str(store / "registry")]) == 0
    return capsys.readouterr().out


def test_a_refusal_says_why_and_stands_in_the_list(runs, store, events, capsys, tmp_path):
    strict = tmp_path / "strict.yaml"
    strict.write_text("limits: {size_mb: 0.001, metric: {least: 0.999}, n_bootstrap: 200}\n")
    said(capsys, store, "register", runs / "one")
    out = said(capsys, store, "gate", NAME, "--limits", strict, code=1)
    assert "✗ size" in out
    assert "✗ metric        auroc 0." in out
    assert f"{NAME}/1: refused by " in out
    assert "is refused, and only what the gate has approved is promoted" in said(
        capsys, store, "promote", NAME, code=1
    )
    listed = said(capsys, store, "list", NAME)
    assert "refused, challenger" in listed
    assert "more than 0.001" in listed
    assert events[-1]["event"] == "refused"
    assert any(reason.startswith("size: ") for reason in events[-1]["reasons"])


def test_a_bundle_without_its_run_has_no_certificate_and_no_evidence(runs, store, capsys, tmp_path):
    bundle = shutil.copytree(runs / "one" / "bundle", tmp_path / "bundle")
    said(capsys, store, "register", bundle)
    out = said(capsys, store, "gate", NAME, "--limits", store / "lenient.yaml", code=1)
    assert "✗ certificate   there is none: register the run's folder" in out
    assert "✗ evidence" in out
    assert "came without its run" in out


def test_records_that_neither_has_seen_judge_where_the_folds_differ(runs, store, capsys):
    lenient = ("--limits", store / "lenient.yaml")
    said(capsys, store, "register", runs / "one")
    said(capsys, store, "gate", NAME, *lenient)
    said(capsys, store, "promote", NAME)
    said(capsys, store, "register", runs / "three", "--kind", "ensemble")
    out = said(capsys, store, "gate", NAME, *lenient, code=1)
    assert "✗ evidence" in out
    assert "only runs on the same records can be compared" in " ".join(out.split())
    out = said(capsys, store, "gate", NAME, *lenient, "--gate-sets", "t", "--root", ".")
    assert "sets t: 120 of 120 records are new to both" in " ".join(out.split())
    out = said(capsys, store, "gate", NAME, *lenient, "--gate-sets", "s", "--root", ".", code=1)
    assert "sets s: 0 of 240 records are new to both, fewer than 100" in " ".join(out.split())


def test_what_is_not_what_was_registered_is_refused(runs, store, capsys, tmp_path):
    run = shutil.copytree(runs / "one", tmp_path / "one")
    said(capsys, store, "register", run)
    (model,) = (store / "registry").rglob("members/logistic/0/model.npz")
    content = model.read_bytes()
    model.write_bytes(content[:-1])
    assert "model.npz: altered since export" in said(capsys, store, "gate", NAME, code=2)
    model.write_bytes(content)
    (run / "predictions.csv").write_text("")
    assert "altered since the search wrote it" in " ".join(
        said(capsys, store, "gate", NAME, "--limits", store / "lenient.yaml", code=1).split()
    )
    shutil.rmtree(run)
    assert "is not at" in said(capsys, store, "gate", NAME, "--limits", store / "lenient.yaml", code=1)


def test_a_registry_that_was_moved_finds_its_bundles(runs, store, capsys):
    said(capsys, store, "register", runs / "one")
    (store / "registry").rename(store / "moved")
    (store / "elsewhere").mkdir()
    (store / "moved").rename(store / "elsewhere" / "registry")
    out = said(capsys, store / "elsewhere", "gate", NAME, "--limits", store / "lenient.yaml")
    assert f"{NAME}/1, against none" in out


def test_wrong_words_are_told_by_name(runs, store, capsys, monkeypatch, tmp_path):
    assert "nothing is registered as a/b/c" in said(capsys, store, "gate", "a/b/c", code=2)
    assert "nothing is registered" in said(capsys, store, "list")
    (tmp_path / "odd.yaml").write_text("limits: {colour: 1}")
    told = said(capsys, store, "gate", NAME, "--limits", tmp_path / "odd.yaml", code=2)
    assert "limits.colour: unknown key — registry.yaml has all keys" in told
    monkeypatch.setenv("REGISTRY_WEBHOOK", "ftp://secret")
    told = said(capsys, store, "register", runs / "one", code=2)
    assert "REGISTRY_WEBHOOK: is no http:// or https:// address" in told
    assert "secret" not in told
    monkeypatch.setenv("REGISTRY_WEBHOOK", "http://127.0.0.1:9/")
    assert "the webhook was not told: it did not answer" in said(capsys, store, "register", runs / "one")
