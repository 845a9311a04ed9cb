"""The registry's contract, in MLflow's store of one file and on a real ``mlflow server``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ehrbench.app.runs.releasing import open_registry
from ehrbench.core.errors import ConfigError, StorageError
from ehrbench.registry.promotion import deployable, promote, rollback
from ehrbench.registry.release import (
    AGAINST,
    APPROVED,
    CHALLENGER,
    CHAMPION,
    GATE,
    NotApproved,
    Registry,
    ReleaseName,
    find,
    pointed,
)
from tests.infra.servers import MlflowServer

NAME = ReleaseName("mortality", "ensemble", "all")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module", params=["file", pytest.param("server", marks=pytest.mark.server)])
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    uri = request.getfixturevalue("server").uri if request.param == "server" else None
    return open_registry(uri, tmp_path_factory.mktemp("runs"))


@pytest.fixture
def name(request: pytest.FixtureRequest) -> ReleaseName:
    """One for each test: a registry is slow to make."""
    return ReleaseName(request.function.__name__, "ensemble", "all")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "content" / "bundle" / "members").mkdir(parents=True)
    (tmp_path / "content" / "bundle" / "members" / "model.txt").write_text("tree")
    return tmp_path / "content"


def approved(registry: Registry, name: ReleaseName, folder: Path, against: str) -> str:
    release = registry.register(name, folder, {"bundle": "d"})
    registry.tag(release, {GATE: APPROVED, AGAINST: against})
    return release.version


def champion(registry: Registry, name: ReleaseName) -> str | None:
    found = pointed(registry.releases(name), CHAMPION)
    return None if found is None else found.version


def test_versions_count_from_1_and_give_back_what_they_were_given(
    registry: Registry, name: ReleaseName, folder: Path, tmp_path: Path
) -> None:
    assert registry.releases(name) == []
    for version in ("1", "2"):
        release = registry.register(name, folder, {"bundle": f"d{version}", "cohort": "publisher"})
        assert release.version == version
    registry.point(name, CHALLENGER, "2")
    registry.tag(release, {"gate": "refused"})
    first, second = registry.releases(name)
    assert (first.version, first.aliases, first.tags["bundle"]) == ("1", (), "d1")
    assert second.aliases == (CHALLENGER,)
    assert (second.tags["gate"], second.tags["cohort"]) == ("refused", "publisher")
    assert name in registry.names()
    (tmp_path / "out").mkdir()
    content = registry.fetch(second, tmp_path / "out")
    assert (content / "bundle" / "members" / "model.txt").read_text() == "tree"


def test_only_what_is_approved_is_promoted(registry: Registry, name: ReleaseName, folder: Path) -> None:
    registry.register(name, folder, {})
    with pytest.raises(NotApproved, match=r"/1: is not judged yet, and only what the gate has approved"):
        promote(registry, name, "1")
    registry.tag(find(registry, name, "1"), {GATE: "refused"})
    with pytest.raises(NotApproved, match="is refused"):
        promote(registry, name, "1")
    with pytest.raises(NotApproved, match="is refused"):
        deployable(registry, name, "1")
    with pytest.raises(ConfigError, match="has no champion — its versions are 1: name one"):
        deployable(registry, name, None)
    assert champion(registry, name) is None


def test_promotion_moves_the_alias_and_rollback_moves_it_back(
    registry: Registry, name: ReleaseName, folder: Path
) -> None:
    for version, against in (("1", "none"), ("2", "1"), ("3", "2")):
        assert approved(registry, name, folder, against) == version
        registry.point(name, CHALLENGER, version)
        assert CHAMPION in promote(registry, name, version).aliases
        assert champion(registry, name) == version
        assert pointed(registry.releases(name), CHALLENGER) is None
    assert promote(registry, name, "3").version == "3"  # said twice, it is so
    assert rollback(registry, name).version == "2"
    assert champion(registry, name) == "2"
    assert deployable(registry, name, None).version == "2"
    with pytest.raises(NotApproved, match="is withdrawn"):
        promote(registry, name, "3")
    assert rollback(registry, name).version == "1"
    with pytest.raises(NotApproved, match="no champion stood before it"):
        rollback(registry, name)
    assert champion(registry, name) == "1"


def test_what_was_compared_with_another_champion_is_not_promoted(
    registry: Registry, name: ReleaseName, folder: Path
) -> None:
    approved(registry, name, folder, "none")
    late = approved(registry, name, folder, "none")
    promote(registry, name, "1")
    with pytest.raises(
        NotApproved, match="compared with version none, and version 1 is champion — gate it again"
    ):
        promote(registry, name, late)
    assert champion(registry, name) == "1"


def test_a_promotion_cut_short_is_none_and_can_be_repeated(
    registry: Registry, name: ReleaseName, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    approved(registry, name, folder, "none")
    approved(registry, name, folder, "1")
    promote(registry, name, "1")
    point = type(registry).point

    def gone(*_: object) -> None:
        raise StorageError("the server is gone")

    monkeypatch.setattr(type(registry), "point", gone)
    with pytest.raises(StorageError):
        promote(registry, name, "2")
    monkeypatch.setattr(type(registry), "point", point)
    assert champion(registry, name) == "1"
    with pytest.raises(NotApproved):  # nor is it taken for a champion that stood before
        rollback(registry, name)
    assert promote(registry, name, "2").version == "2"
    monkeypatch.setattr(type(registry), "point", gone)
    with pytest.raises(StorageError):
        rollback(registry, name)
    monkeypatch.setattr(type(registry), "point", point)
    with pytest.raises(NotApproved):
        deployable(registry, name, None)
    assert rollback(registry, name).version == "1"


def test_names_are_read_as_they_are_written() -> None:
    assert ReleaseName.read("mortality/ensemble/all") == (NAME, None)
    assert ReleaseName.read("mortality/ensemble/all/3") == (NAME, "3")
    assert str(NAME) == "mortality/ensemble/all"
    for wrong in ("mortality", "a/b/c/d/e", "a//c", "a/b.c/d", "a/b/ü"):
        with pytest.raises(ConfigError, match="for example mortality/ensemble/all"):
            ReleaseName.read(wrong)


def test_a_server_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"registry http://127\.0\.0\.1:9: .* — start its server"):
        open_registry("http://127.0.0.1:9", tmp_path)
