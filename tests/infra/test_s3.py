"""Artifacts on an S3-compatible server: the real client, over the wire, alone and under a whole search."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ehrbench.app.composed.checking import check
from ehrbench.app.search.logs import logs_of
from ehrbench.core.errors import ConfigError, StorageError
from ehrbench.core.run_folder import RunFolder
from ehrbench.infra.artifacts import FileArtifacts
from ehrbench.infra.settings import Environment
from ehrbench.publishers.physionet2012 import PhysioNet2012
from ehrbench.tasks.mortality import Mortality
from tests.infra.s3 import S3Server
from tests.infra.servers import absent
from tests.spine.composing import tiny_config

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.server


@pytest.fixture
def s3() -> Iterator[S3Server]:
    if importlib.util.find_spec("s3fs") is None:
        absent("s3fs", "EHRBENCH_EXTRAS=s3 scripts/environment.sh --dev")
    server = S3Server("bucket")
    yield server
    server.stop()


def store(s3: S3Server, url: str = "s3://bucket/some/place", **more: str) -> FileArtifacts:
    """As a worker makes it: options of fsspec from the environment's variables."""
    settings = Environment.read(None, s3.environment | more)
    return FileArtifacts(url, settings.object_store_options())


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_objects_are_named_by_their_content(s3: S3Server, size: int) -> None:
    content = os.urandom(size)
    digest = store(s3).put(content)
    assert s3.objects["bucket"] == {f"some/place/{digest[:2]}/{digest[2:]}": content}
    another = store(s3)  # another worker
    assert another.holds(digest)
    assert another.get(digest) == content
    assert another.put(content) == digest
    another.drop(digest)
    another.drop(digest)
    assert s3.objects["bucket"] == {}


def test_what_another_worker_does_is_seen(s3: S3Server) -> None:
    """No listing is remembered: a stale one would call a new artifact missing, or one that is gone there."""
    one, other = store(s3), store(s3)
    for store_ in (one, other):
        assert not store_.holds("0" * 64)
    digest = one.put(b"x")
    assert other.holds(digest)
    other.drop(digest)
    assert not one.holds(digest)
    with pytest.raises(StorageError, match=r"missing — restore it, or `ehrbench study doctor`"):
        one.get(digest)
    one.put(b"x")
    assert other.get(digest) == b"x"


def test_an_altered_object_is_an_error(s3: S3Server) -> None:
    digest = store(s3).put(b"predictions")
    s3.objects["bucket"][f"some/place/{digest[:2]}/{digest[2:]}"] = b"predictionz"
    with pytest.raises(StorageError, match="altered"):
        store(s3).get(digest)


@pytest.mark.parametrize(
    ("url", "variables", "said"),
    [
        ("s3://bucket/x", {"AWS_SECRET_ACCESS_KEY": "guessed"}, "SignatureDoesNotMatch|Forbidden"),
        ("s3://bucket/x", {"AWS_ACCESS_KEY_ID": "SOMEBODY"}, "InvalidAccessKeyId|Forbidden"),
        ("s3://no-such-bucket/x", {}, "bucket"),
        ("s3://bucket/x", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "connect"),
    ],
)
def test_a_fault_is_one_line_that_names_the_variables(
    s3: S3Server, url: str, variables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StorageError, match=f"(?i){said}") as caught:
        store(s3, url, **variables).put(b"x")
    assert "check ARTIFACTS_URL, AWS_*" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "guessed" not in str(caught.value)
    assert s3.objects == {"bucket": {}}


def test_a_server_that_fails_for_good_is_said(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    digest = store(s3).put(b"x")
    s3.fault = (500, "InternalError")
    with pytest.raises(StorageError, match=r"cannot be read .* — check ARTIFACTS_URL, AWS_"):
        store(s3).get(digest)


def test_a_log_that_cannot_be_sent_stays_and_costs_no_search(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (s3.environment | {"AWS_MAX_ATTEMPTS": "1"}).items():
        monkeypatch.setenv(name, value)
    settings = check(tiny_config("beats", tmp_path, "logs_dir=s3://no-such-bucket/x"))
    log = tmp_path / "worker-1.log"
    with logs_of(settings, RunFolder(tmp_path, "s")) as folder:
        assert folder == tmp_path
        log.write_text("a line")
    said = capsys.readouterr().err
    assert said.startswith("logs_dir: s3://no-such-bucket/x cannot be written (")
    assert f"see {log}" in said
    assert log.read_text() == "a line"
    with pytest.raises(ConfigError, match="logs_dir: holds a user or password"):
        check(tiny_config("beats", tmp_path, "logs_dir=s3://me:secret@bucket/x"))


def test_a_whole_search_keeps_its_artifacts_there(s3: S3Server, tmp_path: Path) -> None:
    """Predictions under ARTIFACTS_URL, models under CHECKPOINTS_DIR, logs under LOGS_DIR."""
    PhysioNet2012(Mortality()).simulate(tmp_path / "data", 200, seed=1)
    s3.objects |= {"models": {}, "logs": {}}
    places = {"ARTIFACTS_URL": "s3://bucket/artifacts", "CHECKPOINTS_DIR": "s3://models/checkpoints"}
    places["LOGS_DIR"] = "s3://logs/of"
    environment = {**os.environ, **s3.environment, **places, "EHRBENCH_DATA": str(tmp_path / "data")}

    def run(*command: str, exit_code: int = 0) -> str:
        words = [sys.executable, *command]
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500
        )
        assert done.returncode == exit_code, done.stdout + done.stderr
        return done.stdout + done.stderr

    search = ["protocol=smoke", "models=[logistic]", "tracker=none", "report.explained=0", "workers=2"]
    run(str(ROOT / "experiments" / "search.py"), *search)
    log = tmp_path / "runs" / "mortality-smoke" / "worker-1.log"
    assert s3.objects["logs"] == {"of/mortality-smoke/worker-1.log": log.read_bytes()}
    summary = json.loads((tmp_path / "runs" / "mortality-smoke" / "summary.json").read_text())
    n_fits = sum(study["fits"] for study in summary["studies"].values())
    artifacts, models = s3.objects["bucket"], s3.objects["models"]
    assert len(artifacts) >= n_fits > 0
    proofs = [body for body in models.values() if body.startswith(b"proof\0")]  # that workers share the place
    assert len(proofs) == 1
    assert len(models) == n_fits + 1  # of one trial a study, which is its best
    assert all(key.startswith("artifacts/") for key in artifacts)
    assert all(key.startswith("checkpoints/") for key in models)
    assert not (tmp_path / "runs" / "artifacts").exists()
    assert "nothing is wrong" in run("-m", "ehrbench.app.command.cli", "study", "doctor")
    artifacts.clear()
    assert f"findings left: {n_fits} of {n_fits}" in run(
        "-m", "ehrbench.app.command.cli", "study", "doctor", exit_code=1
    )
