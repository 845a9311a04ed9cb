"""A search that cannot be: one line that says what to do, exit code 2, and nothing changed anywhere.

Each is composed and guarded as ``experiments/search.py`` does it, on a real MariaDB.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from ehrbench.app.composed.conf import CONF
from ehrbench.app.composed.entry import guarded
from ehrbench.app.search import searching
from ehrbench.infra import schema
from ehrbench.publishers.brfss2015 import BRFSS2015
from ehrbench.publishers.physionet2012 import PhysioNet2012
from ehrbench.tasks.diabetes import Diabetes
from ehrbench.tasks.mortality import Mortality
from tests.infra.servers import PASSWORD, MariaDb, free_port

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["protocol=smoke", "model=[logistic]", "storage=mysql", "study_name=s", "report.explained=0"]
N_TRIALS = 2


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    PhysioNet2012(Mortality()).simulate(folder, 200, seed=1)
    BRFSS2015(Diabetes()).simulate(folder / "diabetes", 200, seed=1)
    return folder


@pytest.fixture(scope="module")
def searched(mariadb: MariaDb, data: Path) -> Iterator[str]:
    """A database in which all trials of a search are spent."""
    name = f"t{uuid.uuid4().hex[:12]}"
    mariadb.database(name)
    with pytest.MonkeyPatch.context() as patch:
        point_at(patch, mariadb, name, data)
        searching.work(composed(data, data / "runs", "tracker=none"))
        yield name


@pytest.fixture
def environment(
    mariadb: MariaDb, searched: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> pytest.MonkeyPatch:
    point_at(monkeypatch, mariadb, searched, data)
    return monkeypatch


def point_at(patch: pytest.MonkeyPatch, mariadb: MariaDb, database: str, data: Path) -> None:
    values = {"HOST": "127.0.0.1", "PORT": str(mariadb.port), "USER": "ehrbench", "PASSWORD": PASSWORD}
    for name, value in {**values, "DATABASE": database}.items():
        patch.setenv(f"OPTUNA_{name}", value)
    patch.setenv("EHRBENCH_CACHE", str(data / "cache"))
    patch.chdir(data)  # no .env there


def composed(data: Path, runs: Path, *arguments: str) -> dict:
    from ehrbench.app.composed.entry import resolved

    with initialize_config_dir(str(CONF)):
        return resolved(compose("config", [*SMALL, *everywhere(data, runs), *arguments]))


def everywhere(data: Path, runs: Path) -> list[str]:
    return [f"runs_dir={runs}", f"n_trials={N_TRIALS}", f"data.root={data}"]


def everything(mariadb: MariaDb, folder: Path) -> dict[str, object]:
    """Every table's checksum, and every file's and folder's."""
    tables = mariadb.execute(
        "SELECT concat('`', table_schema, '`.`', table_name, '`') FROM information_schema.tables WHERE "
        "table_schema NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')"
    )
    names = ", ".join(str(name) for (name,) in tables)
    found: dict[str, object] = dict(mariadb.execute(f"CHECKSUM TABLE {names}"))
    assert len(found) == len(tables)
    files = {
        path: path.is_file() and hashlib.sha256(path.read_bytes()).digest() for path in folder.rglob("*")
    }
    return found | {str(path): content for path, content in files.items()}


@pytest.fixture
def refused(mariadb: MariaDb, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Runs a search that must be refused: what it says last."""

    def run(*arguments: str) -> str:
        before = everything(mariadb, tmp_path)
        with initialize_config_dir(str(CONF)):
            config = compose("config", [*SMALL, *everywhere(data, tmp_path / "new" / "runs"), *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            guarded(searching.search, config)
        assert end.value.code == 2
        out, error = capsys.readouterr()
        assert "Traceback" not in error
        assert PASSWORD not in out + error
        assert everything(mariadb, tmp_path) == before
        last = error.splitlines()[-1]
        assert last.startswith("ehrbench: ")
        assert sum(line.startswith("ehrbench: ") for line in error.splitlines()) == 1
        return last

    return run


@pytest.mark.server
class TestAccounts:
    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("OPTUNA_PASSWORD", "wrong", "user ehrbench was refused — check OPTUNA_USER and OPTUNA_PASSWORD"),
            ("OPTUNA_HOST", "no-such-host.invalid", "no such host — check OPTUNA_HOST"),
            ("OPTUNA_HOST", "", "OPTUNA_HOST: is not set"),
            ("OPTUNA_PORT", "threethousand", "'threethousand' is not a port"),
            ("OPTUNA_DATABASE", "nowhere", "no database nowhere — CREATE DATABASE it"),
            ("OPTUNA_USER", "reader", "user reader may not write to"),
        ],
    )
    def test_what_is_wrong_with_the_account(self, name, value, message, environment, refused, monkeypatch):
        environment.setenv(name, value)
        monkeypatch.setattr("ehrbench.infra.database.time.sleep", lambda _: None)
        assert message in refused("n_trials=5")

    def test_the_server_is_asked_before_data_are_read(self, environment, refused):
        environment.setenv("OPTUNA_PASSWORD", "wrong")
        assert "OPTUNA_PASSWORD" in refused("data.root=/nowhere")

    def test_nobody_listens(self, environment, refused):
        environment.setenv("OPTUNA_PORT", str(free_port()))
        assert "cannot connect" in refused()

    def test_a_reader_of_an_empty_database(self, mariadb, environment, refused):
        name = f"t{uuid.uuid4().hex[:12]}"
        mariadb.database(name)
        environment.setenv("OPTUNA_DATABASE", name)
        environment.setenv("OPTUNA_USER", "reader")
        assert f"user reader may not write to {name} — GRANT ALL" in refused()


@pytest.mark.server
class TestStudies:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["n_trials=0"], "n_trials: input should be greater than or equal to 1 (got 0)"),
            (["n_trials=-3"], "n_trials: input should be greater than or equal to 1 (got -3)"),
            (["n_trials=1"], "n_trials: 1 is fewer than the 2 trials that study s/mortality/logistic/fold0"),
            (["model.logistic.n_trials=1"], "n_trials: 1 is fewer than the 2 trials"),
            (["model.logistic.space.C.high=5"], "space.C.high was "),
            (["metric=log_loss"], 'metric was "auroc", now "log_loss"'),
            (["data.limit=100"], "exists with other records or labels (see data and task) —"),
            (["protocol.outer_folds=3"], "exists with other folds of the same records (see protocol"),
            (["seed=1"], "seed was 0, now 1"),
            (["model=[lightgbm,logistic]", "model.logistic.space.C.high=5"], "space.C.high was "),
            (["task=diabetes", "data.root=diabetes"], "s is a search of task mortality, not diabetes"),
        ],
    )
    def test_another_search_of_the_same_name(self, arguments, message, environment, refused):
        said = refused(*arguments)
        assert message in said
        assert "n_trials" in message or "take another study_name" in said


@pytest.mark.server
class TestArtifacts:
    """Of a search that others have begun: a worker proves that it reads what they wrote."""

    REMEDY = ": missing) — give all of them one ARTIFACTS_URL, and CHECKPOINTS_DIR, that each can reach"

    def test_a_place_of_one_s_own(self, data, environment, refused):
        said = refused(f"storage.artifacts={data / 'own'}")
        assert f"storage.artifacts: {data / 'own'}: not where the other workers of s write (" in said
        assert said.endswith(self.REMEDY)
        assert not (data / "own").exists()

    def test_models_in_a_place_of_one_s_own(self, data, environment, refused):
        shared = ["study_name=t", f"storage.artifacts={data / 'runs' / 'artifacts'}", "tracker=none"]
        searching.work(composed(data, data / "runs", *shared, f"storage.checkpoints={data / 'models'}"))
        said = refused(*shared, f"storage.checkpoints={data / 'own'}")
        assert f" and {data / 'own'}: not where the other workers of t write (" in said
        assert said.endswith(self.REMEDY)
        searching.work(composed(data, data / "others", *shared, f"storage.checkpoints={data / 'models'}"))


@pytest.mark.server
class TestVersions:
    def test_tables_of_a_later_ehrbench(self, mariadb, searched, environment, refused):
        table = f"{searched}.ehrbench_version"
        mariadb.execute(f"UPDATE {table} SET version = 99")
        try:
            assert "tables are of version 99" in refused()
        finally:
            mariadb.execute(f"UPDATE {table} SET version = {schema.VERSION}")

    @pytest.mark.parametrize("version", ["v99.0.0.a", "v2.6.0.a"])
    def test_tables_of_another_optuna(self, version, mariadb, searched, environment, refused):
        table = f"{searched}.alembic_version"
        ((before,),) = mariadb.execute(f"SELECT version_num FROM {table}")
        mariadb.execute(f"UPDATE {table} SET version_num = '{version}'")
        try:
            assert "Optuna's tables are not of version" in refused()
        finally:
            mariadb.execute(f"UPDATE {table} SET version_num = '{before}'")


@pytest.mark.server
@pytest.mark.parametrize(
    ("key", "address"),
    [
        ("tracker.mlflow.uri", "http://me:hunter2@mlflow.invalid"),
        ("tracker.mlflow.uri", "mysql+pymysql://me:hunter2@db.invalid/mlflow"),
        ("storage.artifacts", "s3://AKIA:hunter2@bucket/x"),
        ("storage.checkpoints", "sftp://me:hunter2@host/x"),
    ],
)
def test_an_address_never_holds_a_password(key, address, environment, refused):
    said = refused(f"{key}={address}")
    assert f"{key}: holds a user or password" in said
    assert "hunter2" not in said
