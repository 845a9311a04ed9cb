"""Explanations of whole searches: of the reported predictions, shown on the page, asked for by command."""

import csv
import json

import pytest

from ehrbench.app.command.cli import main
from ehrbench.app.search import searching
from ehrbench.core.errors import ConfigError
from ehrbench.publishers.brfss2015 import BRFSS2015
from ehrbench.publishers.physionet2012 import PhysioNet2012
from ehrbench.tasks.diabetes import Diabetes
from ehrbench.tasks.mortality import Mortality
from tests.spine.composing import composed, tiny_config


def searched(folder, publisher, *overrides):
    publisher.simulate(folder / "data", 160, 0)
    small = ["protocol=smoke", "protocol.outer_folds=2", f"data.root={folder / 'data'}", "data.limit=null"]
    config = composed(folder / "runs", f"task={publisher.task.name}", *small, *overrides)
    searching.search(config)
    return folder / "runs" / f"{publisher.task.name}-smoke"


def read(run):
    return json.loads((run / "explanations.json").read_text())


@pytest.fixture(scope="module")
def mortality(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("mortality")
        patch.setenv("EHRBENCH_CACHE", str(folder / "cache"))
        few = ("model.lstm.build.max_epochs=2", "model.lightgbm.build.n_estimators=20")
        yield searched(folder, PhysioNet2012(Mortality()), "models=[lightgbm,lstm]", *few)


def test_the_risk_at_the_last_hour_is_the_reported_prediction(mortality):
    with (mortality / "predictions.csv").open() as file:
        reported = {
            row["record"]: float(row["probability"])
            for row in csv.DictReader(file)
            if row["model"] == "ensemble"
        }
    content = read(mortality)
    assert content["course"]["hours"][-1] == len(content["course"]["outcomes"]["with"]["mean"])
    # of the twenty drawn one died: the clearest right and wrong answers and the ordinary one may be the same
    assert 2 <= len({one["record"] for one in content["examples"]}) == len(content["examples"]) <= 4
    assert {one["outcome"] for one in content["examples"]} == {True, False}
    for one in content["examples"]:
        assert one["course"][-1] == one["probability"] == pytest.approx(reported[one["record"]], rel=1e-4)


def test_every_model_and_parameter_is_accounted_for(mortality):
    content = read(mortality)
    assert set(content["attributions"]) == {"lightgbm", "lstm"}
    assert content["attributions"]["lstm"]["hours"]
    assert not content["attributions"]["lightgbm"]["hours"]
    assert set(content["permutation"]["drops"]) == {"lightgbm", "lstm", "ensemble"}
    assert 0.2 < content["attributions"]["lstm"]["agreement"] <= 1  # with what a server says
    drops = content["permutation"]["drops"]["ensemble"]
    assert {"GCS", "Age", "Weight"} <= set(drops)
    assert {len(values) for values in drops.values()} == {content["permutation"]["repeats"]}
    assert (content["n_records"], content["n_permuted"]) == (20, 100)
    for one in content["examples"]:
        assert set(one["contributions"]) == {"lightgbm", "lstm"}


def test_the_page_shows_them_and_names_no_record(mortality):
    page = (mortality / "report.html").read_text()
    ids = (
        "permutation",
        "course",
        "attribution-lightgbm",
        "attribution-lstm",
        "hours-lstm",
        "example-course-0",
    )
    for name in ids:
        assert page.count(f'id="{name}"') == 1, name
    for one in read(mortality)["examples"]:
        assert one["record"] not in page


def test_the_command_makes_the_same_again(mortality, capsys):
    before = (mortality / "explanations.json").read_text()
    (mortality / "explanations.json").unlink()
    assert main(["explain", str(mortality)]) == 0
    assert (mortality / "explanations.json").read_text() == before
    assert f"ehrbench report {mortality}" in capsys.readouterr().out
    assert main(["explain", str(mortality), "--records", "0"]) == 2
    assert "--records: 0 leaves nothing to explain" in capsys.readouterr().err


def test_a_task_without_times_has_no_course(tmp_path):
    run = searched(tmp_path, BRFSS2015(Diabetes()), "models=[logistic]")
    content = read(run)
    assert content["course"] == {"why": "the records of this task have no times"}
    assert content["attributions"]["logistic"]["parameters"]["BMI"]["value"] > 0
    assert len(content["permutation"]["drops"]["ensemble"]) == 21
    assert content["examples"][0]["course"] == []
    page = (run / "report.html").read_text()
    assert "The people of this task have no times." in page
    assert 'id="example-course-0"' not in page
    assert 'id="example-parts-0"' in page


def test_records_that_cannot_be_taken_apart_and_several_units_each(tmp_path):
    searching.search(tiny_config("kinds", tmp_path, "models=[logistic]", "n_trials=1"))
    content = read(tmp_path / "tiny-kinds-nested")
    assert content["permutation"] == {"why": "the records of this task cannot be taken apart by parameter"}
    assert content["attributions"]["logistic"]["parameters"]


def test_as_many_units_as_records_are_taken_apart_however_many_a_record_has(tmp_path):
    searching.search(tiny_config("beats", tmp_path, "models=[logistic]", "n_trials=1", "report.explained=6"))
    run = tmp_path / "tiny-beats-nested"
    content = read(run)
    assert (content["n_records"], content["n_units"]) == (6, 6)
    assert content["examples"]
    assert main(["explain", str(run), "--records", "1000"]) == 0
    content = read(run)
    assert content["n_records"] < content["n_units"] <= 1000 + 5


def test_nothing_is_explained_where_nothing_is_asked(tmp_path):
    searching.search(tiny_config("beats", tmp_path, "models=[logistic]", "n_trials=1", "report.explained=0"))
    run = tmp_path / "tiny-beats-nested"
    assert not (run / "explanations.json").exists()
    assert "ehrbench explain tiny-beats-nested makes it" in (run / "report.html").read_text()


def test_what_goes_wrong_is_said(tmp_path, capsys):
    assert main(["explain", str(tmp_path)]) == 2
    assert f"is {tmp_path} a finished run?" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"report\.explained"):
        searching.search(composed(tmp_path, "report.explained=-1"))
