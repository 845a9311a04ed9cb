"""Every sampler, pruner and storage of ``conf/`` completes its trials, or says early what it lacks."""

from __future__ import annotations

import os
import uuid

import pytest

from ehrbench.app.composed.checking import check
from ehrbench.app.composed.conf import CONF
from ehrbench.app.wired.wiring import wire
from ehrbench.core.progress import SILENT
from tests.app.processes import SMALL, run
from tests.infra.servers import PASSWORD
from tests.spine.composing import tiny_config

N_TRIALS = 9
OPTIONS = [
    pytest.param(group, path.stem, marks=[pytest.mark.server] * (path.stem == "mysql"), id=path.stem)
    for group in ("sampler", "pruner", "storage")
    for path in sorted((CONF / group).glob("*.yaml"))
]
#: So that each does in few trials what it does in many, and none is stopped by luck.
HASTE = {"sampler": ["sampler.n_startup_trials=2"], "pruner": ["pruner.least_chance=1e-12"]}


@pytest.mark.parametrize(("group", "name"), OPTIONS)
def test_each_completes_every_trial(group, name, request, tmp_path, monkeypatch):
    if name == "mysql":
        mariadb, database = request.getfixturevalue("mariadb"), f"t{uuid.uuid4().hex[:12]}"
        mariadb.database(database)
        values = {"HOST": "127.0.0.1", "PORT": str(mariadb.port), "USER": "ehrbench", "PASSWORD": PASSWORD}
        for key, value in {**values, "DATABASE": database}.items():
            monkeypatch.setenv(f"OPTUNA_{key}", value)
    haste = [] if name in ("random", "none") else HASTE.get(group, [])
    none = [] if group == "pruner" else ["pruner=none"]
    options = [f"{group}={name}", f"n_trials={N_TRIALS}", "models=[logistic]", *none, *haste]
    config = tiny_config("beats", tmp_path, *options)
    search = wire(check(config), "study", SILENT).search
    study = search.study("logistic", search.split.outer[0])
    study.run(SILENT)
    rows = search.backend.ledger.tickets(study.key)
    assert [(row.state, row.attempt, row.error) for row in rows] == [("complete", 1, None)] * N_TRIALS
    assert len({str(row.params) for row in rows}) == N_TRIALS
    if name == "cmaes":  # its own state, not only trials at random
        assert any(key.startswith("cma:") for row in rows for key in row.sampler_state)
    if name == "race":
        assert all(fit.steps for row in rows for fit in row.fits)


def test_what_a_sampler_needs_is_asked_before_data_are_read(tmp_path):
    code, output = run("search.py", *SMALL, "sampler=cmaes", data=tmp_path / "none", hidden=("cmaes",))
    begun, told = output.splitlines()
    assert code == 2
    assert begun.startswith("search: ")
    assert told.startswith("ehrbench: sampler: cmaes needs a package of that name")


def test_what_a_storage_needs_is_asked_before_data_are_read(tmp_path):
    options = [*SMALL, "storage.artifacts=s3://bucket/x", f"runs_dir={tmp_path / 'runs'}"]
    code, output = run("search.py", *options, data=tmp_path / "none", hidden=("s3fs",))
    begun, told = output.splitlines()
    assert code == 2
    assert begun.startswith("search: ")
    assert told.startswith("ehrbench: ARTIFACTS_URL: s3://bucket/x cannot be used")
    assert not os.path.lexists(tmp_path / "runs")
