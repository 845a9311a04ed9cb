"""What the entry points compose and refuse: what goes wrong ends in one line that says what to do."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import sys
import tarfile
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hydra import compose, initialize_config_dir
from hydra.errors import CompactHydraException

from ehrbench.app.composed import conf, entry
from ehrbench.app.composed.conf import CONF
from ehrbench.app.composed.entry import begin, check_models, guarded, not_composed, spell_out
from ehrbench.app.composed.overrides import as_texts
from ehrbench.app.composed.sweeping import check_sweep
from ehrbench.app.search import searching
from ehrbench.core.errors import ConfigError
from tests.app.processes import ROOT, SMALL, run


def test_models_are_spelled_as_hydra_wants_them():
    spelled = spell_out(["search.py", "models=[a,b]", "model=c", "model.a.build.x=1", "n_trials=3"])
    assert spelled == ["search.py", "model=[a,b]", "model=[c]", "model.a.build.x=1", "n_trials=3"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("model=a,b", [["a"], ["b"]]),  # as Hydra's users expect; it was one job of both
        ("model=[a,b],[c]", [["a", "b"], ["c"]]),
        ("model=a", [["a"]]),
        ("models=[a,b]", [["a", "b"]]),
        ("models=a,b", [["a", "b"]]),
    ],
)
@pytest.mark.parametrize("sweep", ["-m", "--multirun", "hydra.mode=MULTIRUN"])
def test_a_sweep_over_models_is_one_job_each(given, expected, sweep):
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    arguments = [*spell_out(["search.py", sweep, given]), "seed=1,2"]
    overrides = OverridesParser.create().parse_overrides(
        [a for a in arguments if a.startswith(("model", "seed"))]
    )
    jobs = BasicSweeper.split_arguments(overrides, max_batch_size=None)[0]
    names = [f"model=[{','.join(names)}]" for names in expected]
    assert jobs == [[name, f"seed={seed}"] for name in names for seed in (1, 2)]


@pytest.mark.parametrize(
    ("command", "given", "shared"),
    [
        ("search", "model=a,b study_name=x", "model"),
        ("search", "model=a,b", "model"),
        ("search", "task=table,mortality seed=1,2", "seed"),
        ("search", "model=a,b study_name=x,y", "model"),
        ("search", "model=a,b seed=1,2 study_name='x-${seed}'", "model"),
        ("train", "study_name=x model.ssm.build.lr=interval(0.1,1)", "model.ssm.build.lr"),
        ("evaluate", "bundle=b data.sets=[a],[c] output=o", "data.sets"),
        ("predict", "bundle=b input=a,c output=o.csv", "input"),
        ("search", "model=a,b 'study_name=x-${hydra:job.num}'", None),
        ("search", "seed=1,2 'study_name=x-${seed}'", None),
        ("search", "seed=1,2 'runs_dir=runs/${seed}' study_name=x", None),
        ("search", "task=table,mortality protocol=nested,smoke", None),
        ("search", "study_name=x,y", None),
        ("search", "worker=range(8) study_name=x", None),
        ("search", "hydra/launcher=basic,joblib study_name=x", None),
        ("train", "model=a,b seed=1,2", None),
        ("evaluate", "bundle=b,c data.sets=[a]", None),
        ("predict", "bundle=b input=a,c 'output=${hydra.job.num}.csv'", None),
    ],
)
@pytest.mark.parametrize("sweep", ["-m", "hydra.mode=MULTIRUN"])
def test_jobs_of_a_sweep_may_not_write_over_each_other(command, given, shared, sweep):
    arguments = as_texts(spell_out(["ehrbench", sweep, *shlex.split(given)]))
    if shared is None:
        check_sweep(command, arguments)
        return
    with pytest.raises(
        ConfigError, match=f"sweep over {shared} would .* — give each job its own, for"
    ) as told:
        check_sweep(command, arguments)
    assert "\n" not in str(told.value)


def test_a_sweep_into_one_folder_ends_before_anything_is_read(tmp_path):
    arguments = ["-m", "model=logistic,mlp", "study_name=x", f"runs_dir={tmp_path / 'runs'}"]
    code, said = run("search.py", *arguments, data=tmp_path)
    assert code == 2
    assert said.startswith("ehrbench: study_name: jobs of the sweep over model would write over each other's")
    assert said.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def begin_with(tmp_path, monkeypatch):
    """``entry.begin`` in a folder with this ``.env``, and everything as before afterwards."""
    handler = signal.getsignal(signal.SIGTERM)

    def begin_(env_file: str) -> None:
        (tmp_path / ".env").write_text(env_file)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["search.py", "models=[logistic]"])
        environment = {name: value for name, value in os.environ.items() if name not in variables}
        monkeypatch.setattr(os, "environ", environment)
        begin()

    variables = set(dotenv_values(ROOT / ".env.example"))
    yield begin_
    signal.signal(signal.SIGTERM, handler)


def test_a_copy_of_the_example_changes_no_default(begin_with):
    begin_with((ROOT / ".env.example").read_text())
    assert sys.argv == ["search.py", "model=[logistic]"]
    assert os.environ["OPTUNA_HOST"] == "localhost"
    assert not {"ARTIFACTS_URL", "CHECKPOINTS_DIR", "MLFLOW_TRACKING_URI", "EHRBENCH_DATA"} & set(os.environ)


def test_an_address_with_a_password_ends_before_hydra_could_print_it(begin_with, capsys):
    with pytest.raises(SystemExit) as end:
        begin_with("MLFLOW_TRACKING_URI=https://me:hunter2@mlflow.invalid\n")
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("ehrbench: MLFLOW_TRACKING_URI: holds a user or password")
    assert "hunter2" not in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["n_trials=0"], "n_trials: input should be greater than or equal to 1 (got 0)"),
        (["protocol.outer_folds=1"], "protocol.outer_folds: input should be greater than or equal to 2"),
        (["metric=aurok"], "there is no metric 'aurok'"),
        (["model.logistic.build.C=-1"], "model.logistic.build.C: -1 is not a number from"),
        (
            ["+model.logistic.space.nope={type: int, low: 1, high: 2}"],
            "model.logistic.space.nope: the model has no such setting",
        ),
        (
            ["+model.logistic.space={featurizer.nope: {type: int, low: 1, high: 2}}"],
            "model.logistic.space.featurizer.nope: the model has no such setting",
        ),
        (["model.logistic.space.C.low=100"], "model.logistic.space.C.low: 100 is above high"),
        (["ensemble.combiners=[meen]"], "ensemble.combiners: there is no 'meen'"),
        (["ensemble.combiners=mean"], "ensemble.combiners: 'mean' is not a list"),
        (["task.build.hours=soon"], "task.build.hours: 'soon' is not in (0, 48]"),
        (["threshold.rule=f2"], "threshold.rule: there is no rule 'f2'"),
        (["+threshold.cut=0.5"], "threshold.cut: unknown key — --cfg job shows all keys"),
        (["model.logistic.build=null"], "model.logistic.build: None is no group of settings"),
        (["task.views=null"], "task.views: None is no group of settings"),
        (
            ["task.publisher.drop_unmeasured=no"],
            "task.publisher.drop_unmeasured: 'no' is neither true nor false",
        ),
        (["+task.views.scaled_table.clinical=off"], "clinical: 'off' is neither true nor false"),
        (["protocol=file"], "protocol.path"),
        (["task.build._target_=os.system"], "task.build._target_: 'os.system' is not under ehrbench."),
        (["data.sets=[z]"], "data.sets: 'z' is no set"),
        (["models=[]"], "models: no model is named"),
        (["task=diabetes", "models=[lstm]"], "model.lstm.view: the task has no view 'sequence', only table"),
        (["protocol=holdout", "data.test_sets=[]"], "data.test_sets: the hold-out protocol needs"),
        (["data.sets=[a,b,a]"], "data.sets: a is named twice — name it once"),
        (["protocol=holdout", "data.test_sets=[b,b]"], "data.test_sets: b is named twice"),
        (["protocol=holdout", "data.train_sets=[a,a]"], "data.train_sets: a is named twice"),
        (["ensemble.combiners=[mean,mean]"], "ensemble.combiners: mean is named twice"),
        (["protocol=holdout", "data.test_sets=[a]"], "data.test_sets: set a is also a training set"),
        (["+n_trails=3"], "n_trails: unknown key — "),
        (["+protocol.folds=3"], "protocol.folds: unknown key — "),
        (["+task.hours=24"], "task.hours: unknown key — "),
        (["+model.logistic.C=2"], "model.logistic.C: unknown key — "),
        (["worker=-1"], "worker: input should be greater than or equal to 0"),
    ],
)
def test_a_wrong_value_ends_in_one_line_that_names_its_key(arguments, message, data, tmp_path, capsys):
    error = refused(tmp_path / "runs", data, capsys, *arguments)
    assert message in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ([], "event1"),
        (["+experiment=quickstart"], "event1"),
        (["task=diabetes"], "f1"),
        (["threshold=youden"], "youden"),
        (["threshold=f1"], "f1"),
        (["task=diabetes", "threshold=event1"], "event1"),
    ],
)
def test_a_task_may_name_its_threshold_and_the_command_line_has_the_last_word(arguments, rule):
    with initialize_config_dir(str(CONF)):
        assert compose("config", spell_out(arguments)).threshold.rule == rule


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("n_trails=3", "n_trails: unknown key — did you mean n_trials? --cfg job shows all keys"),
        ("model.logistic.build.penalty=3", "model.logistic.build.penalty: unknown key — --cfg job shows all"),
        ("model.ssm.n_trials=3", "model.ssm.n_trials: unknown key — "),  # of a model that is not named
        ("protocol=loo", "protocol: there is no 'loo' — choose among file, holdout, nested, smoke"),
        ("+experiment=quick", "experiment: there is no 'quick' — choose among quickstart"),
        ("data.sets=[a,,b", "data.sets: cannot be read (no viable alternative at input '[a,,') — write key="),
        ("n_trials", "n_trials: cannot be read (missing EQUAL at '<EOF>') — write key=value"),
        ("~nothing", "configuration: Could not delete from config. 'nothing' does not exist. — "),
    ],
)
def test_what_hydra_cannot_compose_is_said_in_one_line(argument, message):
    with initialize_config_dir(str(CONF)), pytest.raises(CompactHydraException) as refused:
        compose("config", [*spell_out(SMALL), argument])
    said = str(not_composed(refused.value))
    assert said.startswith(message)
    assert "\n" not in said


@pytest.mark.parametrize("script", ["search.py", "train.py", "evaluate.py", "predict.py"])
def test_a_key_that_does_not_exist_ends_in_one_line(script, data):
    assert run(script, "bundel=x", data=data) == (
        2,
        "ehrbench: bundel: unknown key — "
        + "did you mean bundle? " * (script in ("evaluate.py", "predict.py"))
        + "--cfg job shows all keys\n",
    )


def refused(runs_dir: Path, data: Path, capsys, *arguments: str) -> str:
    """What the entry point's guard prints for a run that it refuses with exit code 2."""
    with initialize_config_dir(str(CONF)):
        config = compose(
            "config", spell_out([*SMALL, f"runs_dir={runs_dir}", f"data.root={data}", *arguments])
        )
    with pytest.raises(SystemExit) as end:
        guarded(searching.search, config)
    assert end.value.code == 2
    return capsys.readouterr().err.strip().removesuffix("\n").splitlines()[-1]


@pytest.mark.parametrize(
    ("splits", "more", "message"),
    [
        ("folds: 1", [], "splits.json: is not JSON"),
        ({"folds": []}, [], "field folds: holds no list of folds"),
        (
            {"folds": [{"train": "132539", "test": [1]}]},
            [],
            "field folds[0].train: is not a list of record ids",
        ),
        (
            {"folds": [{"train": [132539], "test": []}]},
            [],
            "field folds[0].test: is not a list of record ids",
        ),
        (
            {"folds": [{"train": [132539], "test": [132540]}]},
            ["protocol.inner=valid"],
            "field folds[0].valid: is not a list of record ids",
        ),
        (
            {"folds": [{"train": [132539], "test": [7]}]},
            [],
            "file splits.json, record 7, field folds[0].test: is not among the records read",
        ),
        (
            {"folds": [{"train": [132539, 132540], "test": [132540]}]},
            [],
            "record 132540, field folds[0]: stands twice in one split",
        ),
        (
            {"folds": [{"train": [132539], "test": [132540]}]},
            ["data.limit=100"],
            "data.limit: a file of splits",
        ),
    ],
)
def test_a_file_of_splits_that_cannot_be_used_is_named(splits, more, message, data, tmp_path, capsys):
    path = tmp_path / "splits.json"
    path.write_text(splits if isinstance(splits, str) else json.dumps(splits))
    error = refused(
        tmp_path / "runs", data, capsys, "protocol=file", f"protocol.path={path}", "data.limit=null", *more
    )
    assert message in error
    assert " — " in error, "it says what to do"
    assert len(error.splitlines()) == 1


def test_a_model_that_does_not_exist_is_told_with_those_that_do():
    check_models(
        ["search.py", "model=[ssm, lightgbm]", "model.x.build.y=1", "--config-dir=more", "model=[mine]"]
    )
    with pytest.raises(ConfigError, match=r"^models: ssm is named twice — name it once$"):
        check_models(["search.py", "model=[ssm, lstm,ssm]", "--config-dir=more"])
    with pytest.raises(ConfigError, match=r"models: there is no model 'mine' — choose among .*lightgbm"):
        check_models(["search.py", "model=[ssm,mine]"])


def test_skipped_rows_are_told_with_the_file_that_lists_them(data, tmp_path):
    harmed = tmp_path / "data"
    shutil.copytree(data / "physionet2012", harmed / "physionet2012")
    raw, archive = tmp_path / "raw", harmed / "physionet2012" / "set-a.tar.gz"
    with tarfile.open(archive) as packed:
        packed.extractall(raw)
    one = min(raw.rglob("*.txt"))
    one.write_text(one.read_text() + "99:99,HR,80\n")
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(raw / "set-a", "set-a")
    code, output = run("search.py", *SMALL, f"runs_dir={tmp_path}", "study_name=s", data=harmed)
    assert code == 0, output
    assert "Rows skipped: 1; skipped.csv will list them" in output
    listed = tmp_path / "s" / "skipped.csv"
    assert f"skipped   {listed}" in output.replace("\n", "")
    assert "99:99" in listed.read_text()
    card = (tmp_path / "s" / "bundle" / "MODEL_CARD.md").read_text()
    assert "Rows skipped as unreadable: 1 (skipped.csv)" in card
    calibrator = json.loads((tmp_path / "s" / "bundle" / "ensemble.json").read_text())["calibrator"]["name"]
    how = "not recalibrated" if calibrator == "identity" else f"calibrated by {calibrator}"
    assert f"The bundle serves this one: logistic alone; {how}." in card


def test_an_unknown_key_is_refused_by_hydra(data, tmp_path):
    code, output = run("search.py", *SMALL, f"runs_dir={tmp_path}", "n_trails=3", data=data)
    assert code != 0
    assert "n_trails" in output


def test_missing_data_say_how_to_get_them(data, tmp_path, capsys):
    error = refused(tmp_path, data, capsys, f"data.root={tmp_path / 'no'}")
    assert "ehrbench data get mortality" in error


def test_a_truncated_archive_is_named(data, tmp_path, capsys):
    for file in ("Outcomes-a.txt", "Outcomes-b.txt", "set-b.tar.gz", "set-a.tar.gz"):
        source = next(data.rglob(file))
        (tmp_path / file).write_bytes(source.read_bytes())
    (tmp_path / "set-a.tar.gz").write_bytes((tmp_path / "set-a.tar.gz").read_bytes()[:-2000])
    error = refused(tmp_path / "runs", tmp_path, capsys)
    assert "set-a.tar.gz" in error
    assert "truncated" in error


def test_runs_that_cannot_be_written_are_said_before_anything_is_trained(data, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    error = refused(tmp_path / "file" / "runs", data, capsys)
    assert "runs_dir=FOLDER" in error


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["task=beats", "model=[lightgbm,ssm]"], "model=[beats/lightgbm,ssm]"),
        (["model=[ssm, lightgbm]", "task=beats"], "model=[ssm,beats/lightgbm]"),
        (["+experiment=of_beats", "model=[lightgbm]"], "model=[beats/lightgbm]"),
        (["model=[lightgbm]"], "model=[lightgbm]"),
        (["task=beats", "model=$models"], "model=$models"),
        (["-m", "task=beats", "model=[ssm],[lightgbm, ssm]"], "model=[ssm],[beats/lightgbm,ssm]"),
    ],
)
def test_a_tasks_own_yaml_of_a_model_takes_its_place(
    arguments: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file, text in {
        "model/lightgbm.yaml": "",
        "model/ssm.yaml": "",
        "model/beats/lightgbm.yaml": "",
        "experiment/of_beats.yaml": "defaults:\n  - override /task: beats\n",
        "config.yaml": "defaults:\n  - task: mortality\n",
    }.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    monkeypatch.setattr(conf, "CONF", tmp_path)
    assert expected in entry.of_task(arguments)
