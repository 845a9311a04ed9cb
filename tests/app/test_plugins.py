"""A package outside the checkout brings a model, a featurizer, a metric and a task: named, or installed."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ehrbench import metrics
from ehrbench.app.composed.checking import check
from ehrbench.app.composed.conf import CONF
from ehrbench.app.composed.entry import check_models, with_plugins
from ehrbench.app.python.asking import asked
from ehrbench.app.wired.building import build
from ehrbench.core import plugins
from ehrbench.core.errors import BundleError, ConfigError
from ehrbench.runtime.bundle import Bundle
from tests.app.processes import ROOT

#: File of the package -> its text: as much as a hospital's own would hold, and no more.
PACKAGE = {
    "__init__.py": '"""Our clinic\'s models."""\n\n__version__ = "0.3"\n',
    "ridge.py": '''
from ehrbench.models.logistic import Logistic


class Ridge(Logistic):
    """Logistic regression under another name."""
''',
    "signs.py": '''
import numpy as np

from ehrbench.core.views import Table
from ehrbench.features.tabular import Tabular


class Signs(Tabular):
    """Above or below the average, and nothing else."""

    def apply(self, view):
        table = super().apply(view)
        return Table(np.sign(table.values), table.names)
''',
    "metrics/__init__.py": "",
    "metrics/gini.py": '''
from ehrbench.metrics.auroc import AUROC


class Gini(AUROC):
    """AUROC by the name that this clinic has for it."""

    name = "gini"
    title = "Gini"
''',
    "ward.py": '''
from ehrbench.tasks.own_table import OwnTable


class Ward(OwnTable):
    """A table of one's own, with a metric of one's own beside the others."""

    metrics = (*OwnTable.metrics, "gini")
''',
    "conf/model/ridge.yaml": """# @package model.ridge
view: scaled_table
n_trials: ${n_trials}
build:
  _target_: my_clinic.ridge.Ridge
  C: 0.1
space:
  C: {type: float, low: 1.0e-3, high: 1.0, log: true}
""",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder that holds the package ``my_clinic``, a table, and no installation of either."""
    folder = tmp_path_factory.mktemp("plugins")
    table = (CONF / "task" / "table.yaml").read_text().replace("ehrbench.tasks.own_table.OwnTable", "X")
    table = table.replace("name: table", "name: ward").replace("[table/lightgbm, logistic, mlp]", "[ridge]")
    table = table.replace("_target_: X", "_target_: my_clinic.ward.Ward")
    table = table.replace(
        "_target_: ehrbench.features.tabular.Tabular\n    scaling",
        "_target_: my_clinic.signs.Signs\n    scaling",
    )
    for name, text in {**PACKAGE, "conf/task/ward.yaml": table}.items():
        path = folder / "src" / "my_clinic" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    rng = np.random.default_rng(0)
    with (folder / "stays.csv").open("w") as file:
        out = csv.writer(file)
        out.writerow(["pid", "age", "lactate", "died"])
        for number in range(160):
            age, lactate = rng.normal(60, 12), rng.lognormal(0.7, 0.5)
            died = rng.random() < 1 / (1 + np.exp(1 - (age - 60) / 12 - lactate + 2))
            out.writerow([number, f"{age:.0f}", f"{lactate:.1f}", int(died)])
    return folder


def installed(folder: Path) -> Path:
    """What pip leaves beside a package whose pyproject.toml names the entry point."""
    info = folder / "src" / "my_clinic-1.2.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-clinic\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[ehrbench.plugins]\nclinic = my_clinic\n")
    return info


def search(folder: Path, name: str, *overrides: str) -> tuple[int, str]:
    environment = {**os.environ, "PYTHONPATH": str(folder / "src"), "OMP_NUM_THREADS": "1"}
    environment.pop(plugins.NAMED, None)
    small = ["n_trials=1", "protocol.outer_folds=2", "protocol.inner_folds=2", "report.n_bootstrap=100"]
    small += ["report.explained=0", "tracker=none", f"runs_dir={folder / 'runs'}", f"study_name={name}"]
    data = [f"data.file={folder / 'stays.csv'}", "task.label=died", "task.id=pid"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "experiments" / "search.py"), *data, *small, *overrides],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def named(place):
    """A search of the plugin's model on one of ehrbench's tasks, the plugin named by the command."""
    code, said = search(place, "named", "plugins=[my_clinic]", "task=table", "models=[ridge]", "workers=2")
    assert code == 0, said
    return place / "runs" / "named"


def test_a_plugin_that_is_named_brings_its_model(named):
    summary = json.loads((named / "summary.json").read_text())
    assert set(summary["models"]) == {"ridge", "ensemble"}
    assert summary["code"]["versions"]["my_clinic"] == "0.3"
    assert len(summary["code"]["plugins"]["my_clinic"]) == 64
    assert "plugins:\n- my_clinic" in (named / "config.yaml").read_text()


def test_its_bundle_needs_no_plugin(named):
    """A linear map, and features of ehrbench."""
    assert plugins.packages() == ()
    bundle = Bundle.load(named / "bundle")
    bundle.self_test()
    assert bundle.manifest.versions["my_clinic"] == "0.3"


def test_a_study_is_known_by_the_plugins_code_that_it_uses(place, named):
    ridge = place / "src" / "my_clinic" / "ridge.py"
    before = ridge.read_text()
    try:
        (ridge.parent / "unused.py").write_text("SIZE = 3\n")
        ridge.write_text(before + "\n    max_steps = 3\n")
        code, said = search(place, "named", "plugins=[my_clinic]", "task=table", "models=[ridge]")
    finally:
        ridge.write_text(before)
    assert code == 2
    assert "exists with other code of my_clinic.ridge (see git log) — " in said.splitlines()[-1]


def test_one_that_nobody_named_is_not_imported(place, monkeypatch):
    monkeypatch.syspath_prepend(str(place / "src"))
    with pytest.raises(ConfigError, match=r"_target_: 'my_clinic.ridge.Ridge' is not under ehrbench. — "):
        build({"_target_": "my_clinic.ridge.Ridge"}, "model.ridge.build")
    with pytest.raises(ConfigError, match="there is no model 'ridge'"):
        check_models(["search.py", "model=[ridge]"])
    with pytest.raises(ConfigError, match="there is no metric 'gini'"):
        metrics.load("gini")
    assert "my_clinic" not in sys.modules


def test_a_finished_run_does_not_choose_what_is_imported(named, monkeypatch, capsys):
    from ehrbench.app.command.cli import main

    assert main(["explain", str(named)]) == 2
    assert (
        "plugins: my_clinic is no plugin here — install it, or say EHRBENCH_PLUGINS"
        in capsys.readouterr().err
    )


def test_one_that_is_installed_need_not_be_named_and_brings_task_features_and_metric(place, monkeypatch):
    info = installed(place)
    code, said = search(place, "ward", "task=ward", "metric=gini")
    assert code == 0, said
    run = place / "runs" / "ward"
    summary = json.loads((run / "summary.json").read_text())
    assert summary["metric"] == "gini"
    assert summary["models"]["ridge"]["gini"]["mean"] > 0.6
    assert summary["code"]["versions"]["my_clinic"] == "1.2"
    assert "Gini" in (run / "report.html").read_text()
    needs = r"'my_clinic.ward.Ward' does not lie under ehrbench.tasks; .* say EHRBENCH_PLUGINS=my_clinic$"
    with pytest.raises(BundleError, match=needs):
        Bundle.load(run / "bundle")
    monkeypatch.syspath_prepend(str(place / "src"))
    plugins._packages.cache_clear()  # a process looks once, and here it was installed meanwhile
    bundle = Bundle.load(run / "bundle")  # found by its entry point
    bundle.self_test()
    assert type(bundle.models["ridge"][0].featurizer).__module__ == "my_clinic.signs"
    plugins._packages.cache_clear()
    for file in info.iterdir():
        file.unlink()
    info.rmdir()


def test_names_that_are_no_packages(monkeypatch):
    for name in ("no_such_package_here", "a-b", "../x"):
        monkeypatch.setenv(plugins.NAMED, name)
        with pytest.raises(ConfigError, match=r"^plugins: .* — "):
            plugins.packages()
        with pytest.raises(ConfigError, match=r"^plugins: "):
            build({"_target_": f"{name}.x"}, "model.x.build")


def test_python_names_them_too(place, monkeypatch):
    monkeypatch.setenv(plugins.NAMED, "")
    monkeypatch.syspath_prepend(str(place / "src"))
    words = {"task": "ward", "label": "died", "plugins": ["my_clinic"], "models": ["ridge"]}
    config = asked(place / "stays.csv", None, words, [])
    assert config["model"]["ridge"]["build"]["_target_"] == "my_clinic.ridge.Ridge"
    assert config["plugins"] == ["my_clinic"]
    check(config)


def test_one_that_python_names_wrongly_is_not_kept(place, monkeypatch):
    """A notebook's next call would be refused for it, too."""
    monkeypatch.setenv(plugins.NAMED, "")
    with pytest.raises(ConfigError, match="there is no package my_clinik"):
        asked(place / "stays.csv", None, {"label": "died", "plugins": "my_clinik"}, [])
    assert plugins.packages() == ()
    monkeypatch.syspath_prepend(str(place / "src"))
    config = asked(place / "stays.csv", None, {"label": "died", "plugins": "my_clinic"}, [])
    assert config["plugins"] == ["my_clinic"]


def test_the_folders_of_plugins_are_handed_to_hydra_once(place, monkeypatch):
    monkeypatch.setenv(plugins.NAMED, "")
    monkeypatch.syspath_prepend(str(place / "src"))
    once = with_plugins(["search.py", "plugins=[my_clinic]"])
    assert once[-1] == f"hydra.searchpath=['file://{place / 'src' / 'my_clinic' / 'conf'}']"
    assert with_plugins(once) == once
    assert os.environ[plugins.NAMED] == "my_clinic"
