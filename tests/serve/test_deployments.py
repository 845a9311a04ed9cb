"""Aliases: bundles that move while the server answers, canaries and shadows."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from ehrbench.core.errors import ConfigError
from ehrbench.runtime import Bundle
from ehrbench.serve import ServeSettings
from ehrbench.serve.deployments import DeploymentPlan
from tests.infra.servers import wait_until
from tests.runtime.conftest import toy_bundle
from tests.serve.conftest import RECORD, running

QUICK = ServeSettings(watch_s=0.05)


@pytest.fixture(scope="session")
def two(any_bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two bundles of one task: the second has no network, and so other probabilities."""
    first = any_bundles["binary"]
    second = tmp_path_factory.mktemp("second") / "bundle"
    return first, toy_bundle(second, "binary", models=("trees", "line"))


def point(link: Path, target: Path) -> None:
    """As `ln -sfn` does, in one step."""
    new = link.with_name(f"{link.name}.new")
    new.symlink_to(target)
    new.replace(link)


def models(client: httpx.Client) -> dict[str, Any]:
    answer = client.get("/models").json()
    return {row["alias"]: row for row in answer["models"]} | {"problems": answer["problems"]}


def test_an_alias_moves_under_load_and_no_request_fails(two: tuple[Path, Path], tmp_path: Path) -> None:
    deployed = tmp_path / "deployed"
    deployed.mkdir()
    point(deployed / "champion", two[0])
    versions = [Bundle.load(path).digest for path in two]
    answers: list[tuple[int, str]] = []
    stop = threading.Event()
    with running(deployed, QUICK) as client:

        def ask() -> None:
            with httpx.Client(base_url=client.base_url, timeout=60) as own:
                while not stop.is_set():
                    answer = own.post("/predict", json=RECORD)
                    version = answer.json()["model"]["version"] if answer.status_code == 200 else ""
                    answers.append((answer.status_code, version))

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for path, version in ((two[1], versions[1]), (two[0], versions[0])):  # promotion, rollback
            point(deployed / "champion", path)
            wait_until(lambda v=version: answers and answers[-1][1] == v, 60)
        stop.set()
        for thread in threads:
            thread.join()
    assert {status for status, _ in answers} == {200}
    assert {version for _, version in answers} == set(versions)


def test_a_bundle_that_cannot_be_used_takes_nobodys_place(two: tuple[Path, Path], tmp_path: Path) -> None:
    broken = Path(shutil.copytree(two[1], tmp_path / "broken"))
    (broken / "ensemble.json").write_text("{}")
    place = tmp_path / "deployments.yaml"
    place.write_text(f"aliases: {{champion: {two[0]}}}")
    with running(place, QUICK) as client:
        before = client.post("/predict", json=RECORD).json()["model"]["version"]
        place.write_text(f"aliases: {{champion: {broken}, other: {two[1]}}}")
        wait_until(lambda: "other" in models(client), 60)
        assert "ensemble.json" in models(client)["problems"]["champion"]
        assert client.post("/predict", json=RECORD).json()["model"]["version"] == before
        assert client.get("/readyz").status_code == 200
        other = client.post("/predict?model=other", json=RECORD).json()["model"]
        assert (other["alias"], other["version"]) == ("other", Bundle.load(two[1]).digest)
        assert client.get("/model?model=other").json()["version"] == other["version"]
        assert client.post("/predict?model=none", json=RECORD).status_code == 404
        place.write_text("aliases: [")
        wait_until(lambda: str(place) in models(client)["problems"], 60)
        assert client.post("/predict", json=RECORD).json()["model"]["version"] == before


def test_a_canary_answers_its_share_and_the_same_request_the_same(
    two: tuple[Path, Path], tmp_path: Path
) -> None:
    place = tmp_path / "deployments.yaml"
    place.write_text(f"aliases: {{champion: {two[0]}, challenger: {two[1]}}}\ncanary: {{challenger: 0.3}}")
    with running(place, QUICK) as client:

        def ask(name: str) -> str:
            answer = client.post("/predict", json=RECORD, headers={"X-Request-ID": name})
            return str(answer.json()["model"]["alias"])

        answered = [ask(f"r{n}") for n in range(200)]
        share = answered.count("challenger") / 200
        assert 0.15 < share < 0.45
        assert [ask(f"r{n}") for n in range(20)] == answered[:20]
        seen = models(client)
        assert seen["challenger"]["canary_share"] == 0.3
        assert seen["challenger"]["live"]["requests"] + seen["champion"]["live"]["requests"] == 220
        assert seen["challenger"]["live"]["p50_ms"] > 0


def test_a_shadow_is_compared_and_answers_nobody(two: tuple[Path, Path], tmp_path: Path) -> None:
    place = tmp_path / "deployments.yaml"
    place.write_text(f"aliases: {{champion: {two[0]}, challenger: {two[1]}}}\nshadow: {{challenger: 1}}")
    records = [{"id": "a", "rows": [[n / 4, 1.0, -n / 3]]} for n in range(-8, 8)]
    with running(place, QUICK) as client:
        answered = [client.post("/predict", json=record).json() for record in records]
        assert {answer["model"]["alias"] for answer in answered} == {"champion"}
        others = [client.post("/predict?model=challenger", json=record).json() for record in records]

        def live() -> Any:
            return models(client)["challenger"]["live"]

        wait_until(lambda: live()["shadow_requests"] + live()["shadow_left_out"] == 16, 60)
        seen = live()
    pairs = [(a["predictions"][0], b["predictions"][0]) for a, b in zip(answered, others, strict=True)]
    if seen["shadow_left_out"] == 0:
        differences = [abs(a["probability"]["death"] - b["probability"]["death"]) for a, b in pairs]
        assert seen["mean_difference"] == pytest.approx(sum(differences) / 16, abs=1e-5)
        assert seen["largest_difference"] == pytest.approx(max(differences), abs=1e-5)
        assert seen["agreement"] == pytest.approx(sum(a["decision"] == b["decision"] for a, b in pairs) / 16)
    assert seen["shadow_requests"] > 0


def test_a_challenger_of_another_task_gets_no_request(
    any_bundles: dict[str, Path], two: tuple[Path, Path], tmp_path: Path
) -> None:
    place = tmp_path / "deployments.yaml"
    other = any_bundles["multiclass"]
    place.write_text(f"aliases: {{champion: {two[0]}, challenger: {other}}}\ncanary: {{challenger: 1}}")
    with running(place, QUICK) as client:
        assert client.post("/predict", json=RECORD).json()["model"]["alias"] == "champion"
        assert "another task" in models(client)["problems"]["challenger"]
        named = client.post("/predict?model=challenger", json=RECORD).json()
        assert set(named["predictions"][0]["probability"]) == {"N", "S", "V"}


def test_one_bundle_is_watched_too(two: tuple[Path, Path], tmp_path: Path) -> None:
    link = tmp_path / "current"
    point(link, two[0])
    with running(link, QUICK) as client:
        first = client.get("/healthz").json()["version"]
        point(link, two[1])
        wait_until(lambda: client.get("/healthz").json()["version"] != first, 60)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("champion: x", "has no aliases"),
        ("aliases: {other: x}", "has no champion"),
        ("aliases: {champion: 3}", r"aliases.champion: is no folder"),
        ("aliases: {champion: x}\nshade: {}", "shade: is unknown"),
        ("aliases: {champion: x}\ncanary: {other: 1}", "canary.other: is none of the aliases"),
        ("aliases: {champion: x, b: y}\ncanary: {b: 1.5}", "canary.b: 1.5 is no share"),
        ("aliases: {champion: x, b: y, c: z}\nshadow: {b: 0.6, c: 0.6}", "gives away more"),
        ("aliases: {champion: x}\ncanary: {champion: 1}", "answers anyway"),
    ],
)
def test_plans_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "deployments.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        DeploymentPlan.read(tmp_path / "deployments.yaml")


def test_folders_of_a_plan_lie_beside_it(tmp_path: Path) -> None:
    (tmp_path / "deployments.yaml").write_text("aliases: {champion: icu/bundle}")
    (tmp_path / "icu" / "bundle").mkdir(parents=True)
    elsewhere = os.path.relpath(tmp_path / "deployments.yaml")
    assert DeploymentPlan.read(Path(elsewhere)).folders["champion"].resolve() == tmp_path / "icu" / "bundle"
