"""Names with any character in them, and names that are no names."""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console

from ehrbench.app.command.cli import main
from ehrbench.app.composed import console as terminals
from ehrbench.app.composed.conf import CONF
from ehrbench.app.composed.entry import guarded, spell_out
from ehrbench.app.composed.overrides import as_texts
from ehrbench.app.search import searching
from ehrbench.infra.mlflow_store import sqlite_address
from tests.habits.conftest import SMALL, everything, start

#: What shells, URLs, configurations, terminals and databases give a meaning to.
ODD = "it's [red] 50% of ~ü#1? {a}&b,c=:smile: $x a::b %41"


def test_a_search_below_a_folder_of_any_name(simulated, tmp_path, capsys):
    """With everything it leaves there and prints: nothing beside the folder, and MLflow has it all."""
    runs = tmp_path / ODD
    arguments = [f"data.root={simulated}", f"runs_dir={runs}", "study_name=s", "tracker=mlflow"]
    code, out, error = start("search.py", *SMALL, *arguments, folder=tmp_path)
    assert code == 0, error
    assert "has not taken" not in out
    assert main(["study", "sync", str(runs / "s")]) == 0
    assert [path.name for path in tmp_path.iterdir()] == [ODD]
    assert f"report    {ODD}/s/report.html\n" in out, "neither broken nor taken for markup"
    printed = {
        line[:10].strip(): shlex.split(line[10:])
        for line in out.splitlines()
        if line.startswith(("serve ", "compare "))
    }
    assert printed["serve"][1:] == ["serve", "--bundle", f"{ODD}/s/bundle"]
    assert printed["compare"][1:] == ["ui", "--backend-store-uri", sqlite_address(runs / "mlflow.db")]
    assert (runs / "mlflow.db").stat().st_size > 100_000
    assert list((runs / "mlartifacts").rglob("summary.json"))
    assert main(["certify", str(runs / "s")]) == 0
    assert main(["study", "status", "s", f"--runs-dir={runs}"]) == 0
    assert main(["report", str(runs / "s")]) == 0
    assert "not sealed" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "output", ["2024_01_15", "true", "1e5", "null.csv", "a,b.csv", "ü.csv", "it's", "x=y", "[x]"]
)
def test_a_text_on_the_command_line_stays_as_it_was_written(output):
    with initialize_config_dir(str(CONF)):
        found = compose("predict", as_texts(["bundle=b", "input=i", f"output={output}"]))
    assert found.output == output


@pytest.mark.parametrize(
    ("arguments", "key", "value"),
    [
        (["study_name=20240115"], "study_name", "20240115"),
        (["study_name=null"], "study_name", None),
        (["data.sets=[2015,2024_01,true]"], "data.sets", ["2015", "2024_01", "true"]),
        (["runs_dir=a b"], "runs_dir", "a b"),
        (["runs_dir='a#b'"], "runs_dir", "a#b"),
        (["runs_dir=${study_name}/x", "study_name=1_0"], "runs_dir", "1_0/x"),
        (["+protocol.path=x#y"], "protocol.path", "x#y"),
    ],
)
def test_a_configuration_s_texts(arguments, key, value):
    once = as_texts(arguments)
    assert as_texts(once) == once, "workers get the command line as their parent left it"
    with initialize_config_dir(str(CONF)):
        config = compose("config", once)
    for name in key.split("."):
        config = config[name]
    assert config == value


def test_a_sweep_stays_a_sweep():  # and what is no text is Hydra's
    swept = ["search.py", "-m", "study_name=a,b", "seed=1,2", "runs_dir=choice(x,y)", "data.sets=a"]
    assert as_texts(swept) == swept
    assert as_texts(["study_name=a,b", "seed=1,2"]) == ["study_name='a,b'", "seed=1,2"]


LONG = "x" * 260
AS_FOLDER = (
    "cannot be a folder's name — take letters, digits, . _ and -, at most 100, a letter or digit first"
)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["protocol.name=../../esc"], f"protocol.name: '../../esc' {AS_FOLDER}"),
        (["task.name=../../x"], f"task.name: '../../x' {AS_FOLDER}"),
        (["study_name=.."], f"study_name: '..' {AS_FOLDER}"),
        (["study_name=."], f"study_name: '.' {AS_FOLDER}"),
        (["study_name=s\n"], f"study_name: 's\\n' {AS_FOLDER}"),
        ([f"protocol.name={LONG}"], f"protocol.name: '{LONG[:100]}' {AS_FOLDER}"),
        (
            [f"protocol.name={LONG[:60]}", f"task.name={LONG[:60]}"],
            f"study_name: {LONG[:40]}… would have 121 characters — give one of at most 100: study_name=NAME",
        ),
        (
            [f"runs_dir={LONG}"],
            "runs_dir: a name of 260 bytes is too long (xxxxxxxxxxxxxxxxxxxx…) — file systems",
        ),
        ([f"logs_dir=a/{LONG}/b"], "logs_dir: a name of 260 bytes is too long"),
        ([f"data.root={LONG}"], "data.root: a name of 260 bytes is too long"),
        (["protocol=file", f"protocol.path={LONG}"], "protocol.path: a name of 260 bytes is too long"),
        ([f"storage.artifacts={LONG}"], "storage.artifacts: a name of 260 bytes is too long"),
        ([f"runs_dir={'x/' * 2500}"], "runs_dir: "),
        (["runs_dir="], "runs_dir: is empty — name a file or folder"),
        (
            ["tracker=mlflow", "tracker.mlflow.uri=./mlruns"],
            "tracker.mlflow.uri: './mlruns' is no address that MLflow keeps",
        ),
        (
            ["model.logistic.n_trials=true"],
            "model.logistic.n_trials: input should be a valid integer (got True)",
        ),
        (["model.logistic.space.C.log=no"], "model.logistic.space.C.log: 'no' is neither true nor false"),
    ],
)
def test_a_name_that_is_none_ends_in_one_line_and_leaves_nothing(
    arguments, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    given = [*SMALL, f"runs_dir={tmp_path / 'runs'}", *arguments]
    with initialize_config_dir(str(CONF)):
        config = compose("config", as_texts(spell_out(given)))
    with pytest.raises(SystemExit) as end:
        guarded(searching.search, config)
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert message in error.splitlines()[-1], error
    assert not everything(tmp_path)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (
            {"study_name": 20240115},
            "study_name: input should be a valid string (got 20240115) — in a YAML file,",
        ),
        (
            {"runs_dir": 2024},
            "runs_dir: input should be a valid string (got 2024) — in a YAML file, write it in",
        ),
        (
            {"runs_dir": True},
            "runs_dir: input should be a valid string (got True) — in a YAML file, write it in",
        ),
        (
            {"data": {"sets": [True]}},
            "data.sets.0: input should be a valid string (got True) — in a YAML file",
        ),
        ({"model": {"../x": {"view": "table", "build": {}}}}, f"model.../x: '../x' {AS_FOLDER}"),
    ],
)
def test_what_a_file_has_for_a_text_is_not_guessed_at(written, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with initialize_config_dir(str(CONF)):
        config = compose("config", spell_out([*SMALL, f"runs_dir={tmp_path / 'runs'}"]))
    OmegaConf.set_struct(config, False)
    config.merge_with(written)
    with pytest.raises(SystemExit):
        guarded(searching.search, config)
    assert message in capsys.readouterr().err
    assert not everything(tmp_path)


def test_no_text_of_a_terminal_is_taken_for_markup(monkeypatch, capsys):
    monkeypatch.setattr(
        terminals, "Console", lambda **given: Console(**given, force_terminal=True, width=200)
    )
    console, progress = terminals.terminal()
    monkeypatch.setattr(terminals.time, "monotonic", iter(range(0, 10_000, 2)).__next__)  # steps of seconds
    with progress.step("[/] of [red]") as step:
        step.note("[/note] [b]")
    console.print("[/] :smile: [red]x", soft_wrap=True)
    terminals.leaderboard(console, "title [/]", [("[/model]", {})], [])
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    for shown in ("✓ [/] of [red]", "[/] :smile: [red]x\n", "title [/]", "[/model]"):
        assert shown in plain


def test_a_printed_command_is_what_a_shell_takes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / ODD
    said = terminals.command("ehrbench", "report", folder)
    words = subprocess.run(
        f"printf '%s\\n' {said}", shell=True, capture_output=True, encoding="utf-8", check=True
    )
    assert words.stdout.splitlines()[1:] == ["report", ODD]
    assert (
        shlex.split(terminals.comparing(f"sqlite:///{folder}/mlflow.db"))[-1]
        == f"sqlite:///{folder}/mlflow.db"
    )
