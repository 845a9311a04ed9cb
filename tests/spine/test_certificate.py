"""The certificate: clean searches pass, and a leak planted at any step of the procedure is caught.

Each leak is an ordinary model, featurizer or spine step that reaches round the dataset's door, without
calling the recorder, for outer-test records.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Callable

import numpy as np
import optuna
import pytest

from ehrbench import metrics
from ehrbench.app.certifying import certify_run, ledger_of
from ehrbench.app.checking import check
from ehrbench.app.cli import main
from ehrbench.app.sealing import seal
from ehrbench.app.searching import search as run_search
from ehrbench.app.wiring import Wired, wire
from ehrbench.core.digest import digest
from ehrbench.core.errors import BundleError, StorageError, StudyMismatch
from ehrbench.core.model import load_arrays
from ehrbench.core.progress import SILENT
from ehrbench.core.records import Records
from ehrbench.ensemble._base import Calibrator, Combiner
from ehrbench.infra.ledger import SqlLedger
from ehrbench.models.lightgbm import LightGBM
from ehrbench.spine import procedure
from ehrbench.spine.certificate import NotClean, certify, counterfactual
from ehrbench.spine.dataset import Dataset
from ehrbench.spine.pruning import RacePruner
from ehrbench.spine.search import Backend
from ehrbench.spine.space import Space
from ehrbench.spine.study import Study
from ehrbench.spine.thresholds import ThresholdRule
from ehrbench.spine.trial import restore_model
from tests.spine.composing import tiny_config
from tests.spine.tiny import ScaledTable


def wired(folder, *overrides: str) -> Wired:
    small = ("models=[logistic,lightgbm]", "n_trials=3")
    config = tiny_config("beats", folder, *small, *overrides)
    build, views = dict(config["task"]["build"]), dict(config["task"]["views"])
    views["scaled_table"] = {"_target_": "ehrbench.features.tiny.ScaledTable"}
    config["task"] = {**config["task"], "build": {**build, "holes": 0.1}, "views": views}
    return wire(config, check(config), "study", SILENT)


def everyone(records: Records) -> Records:
    """All records of the cohort, outer test included, without labels: what a leak in a featurizer reaches."""
    return records._rows._root  # type: ignore[union-attr]


def with_labels(monkeypatch) -> dict[str, Records]:
    """The cohort as "all", with its labels, once a record was asked for: what a leak in the spine reaches."""
    opened, reached = Dataset.open, {}

    def remember(self, *rest):
        reached["all"] = self.cohort.records
        return opened(self, *rest)

    monkeypatch.setattr(Dataset, "open", remember)
    return reached


def run_counterfactual(folder, *overrides: str) -> dict:
    """Search the first outer fold, then run it again on other test records."""
    real = wired(folder / "real", *overrides).search
    fold = real.split.outer[0]
    for model in real.contenders:
        real.study(model, fold).run(SILENT)
    numbers = itertools.count()

    def scratch() -> Backend:
        return wired(folder / f"scratch{next(numbers)}", *overrides).search.backend

    return counterfactual(real, fold, real.decide(fold), scratch, SILENT)


def test_a_clean_search_stays_the_same_on_other_test_records(tmp_path):
    found = run_counterfactual(tmp_path)
    assert found["compared"] > 20
    assert not found["repeated"]


def test_a_refitted_model_is_compared_too(tmp_path):
    assert run_counterfactual(tmp_path, "refit=full")["compared"] > run_counterfactual(tmp_path)["compared"]


def test_a_search_that_does_not_repeat_itself_is_no_leak(tmp_path, monkeypatch):
    """Several workers draw other parameters than one alone; the fold is compared with its repetition."""
    suggest, drawn = Space.suggest, itertools.count()

    def other_at_first(self, trial):
        params = suggest(self, trial)
        if isinstance(trial, optuna.Trial) and "C" in params and next(drawn) < 3:
            params["C"] *= 1.01
        return params

    monkeypatch.setattr(Space, "suggest", other_at_first)
    found = run_counterfactual(tmp_path, "models=[logistic]", "pruner=none")
    assert found["repeated"]


def leak_completing(*names: str) -> Callable:
    """What a fitted table keeps under these names comes from all records, the rest from training records."""

    def plant(monkeypatch) -> None:
        fit = ScaledTable.fit

        def leaking(self, records):
            fit(self, records)
            other = fit(ScaledTable(), everyone(records)).state()
            self.restore({**self.state(), **{name: other[name] for name in names}})
            return self

        monkeypatch.setattr(ScaledTable, "fit", leaking)

    return plant


def leak_early_stopping(monkeypatch) -> None:
    """Trees are stopped on all records but the training ones."""
    fit, reached = LightGBM.fit, with_labels(monkeypatch)

    def leaking(self, train, valid, **rest):
        every = reached["all"]
        return fit(self, train, every.take(np.flatnonzero(~np.isin(every.ids, train.ids))), **rest)

    monkeypatch.setattr(LightGBM, "fit", leaking)


def leak_pruning(monkeypatch) -> None:
    """Trials are stopped by a draw that depends on all labels."""
    reached = with_labels(monkeypatch)

    def prune(self, study, trial):
        return int(digest(reached["all"].labels, trial.params)[:8], 16) % 2 == 0

    monkeypatch.setattr(RacePruner, "prune", prune)


def leak_choice(monkeypatch) -> None:
    """The trial is chosen that predicts the outer test best."""

    def best(self):
        setting, auroc = self.setting, metrics.load("auroc")
        test = setting.dataset.cohort.records.take(setting.fold.test)

        def outer(row):
            model = restore_model(setting.ledger, row.fits[0].model, setting.builder, row.params)
            return auroc(test.labels, model.predict(test), target=setting.target)

        return max((r for r in setting.ledger.tickets(self.key) if r.state == "complete"), key=outer)

    monkeypatch.setattr(Study, "best", best)


def leak_decision(owner: type, step: str) -> Callable:
    """A step of the decision learns from the labels of the outer test as well."""

    def plant(monkeypatch) -> None:
        decide, learn, reached = procedure.decide, getattr(owner, step), {}

        def remember(studies, *rest):
            setting = studies[0].setting
            reached["y"] = setting.dataset.cohort.records.take(setting.fold.test).labels
            return decide(studies, *rest)

        def leaking(self, first, second, *rest, **arguments):
            n = len(reached["y"])
            more = np.linspace(0.01, 0.99, n)[:, None]
            if owner is ThresholdRule:  # choose(y, p, target)
                return learn(self, np.r_[first, reached["y"]], np.r_[second, more], *rest)
            if owner is Calibrator:  # fit(p, y, target=)
                return learn(self, np.r_[first, more], np.r_[second, reached["y"]], **arguments)
            logit = np.log(more / (1 - more))
            scores = {name: np.r_[z, logit] for name, z in first.items()}
            arguments["fold"] = np.r_[arguments["fold"], np.resize(np.unique(arguments["fold"]), n)]
            return learn(self, scores, np.r_[second, reached["y"]], **arguments)

        monkeypatch.setattr("ehrbench.spine.search.decide", remember)
        monkeypatch.setattr(owner, step, leaking)

    return plant


def kinds(changed) -> set[str]:
    """What of the procedure the marks speak of: all before the name of a model."""
    return {re.split(r" of (?:logistic|lightgbm|ensemble)", mark)[0] for mark in changed}


#: Point -> leak, settings under which it shows, the first kind of mark that it changes.
LEAKS = {
    "featurizer fit": (
        leak_completing("kept", "indicated", "scaling_knots"),
        ("pruner=none",),
        "fitted state",
    ),
    "scaling": (leak_completing("scaling_centre", "scaling_spread"), ("pruner=none",), "fitted state"),
    "imputation": (leak_completing("median"), ("pruner=none",), "fitted state"),
    "early stopping": (
        leak_early_stopping,
        (
            "models=[lightgbm]",
            "pruner=none",
            "model.lightgbm.build.early_stopping_rounds=5",
            "model.lightgbm.build.learning_rate=0.5",
            "~model.lightgbm.space.learning_rate",
        ),
        "fitted state",
    ),
    "pruning": (leak_pruning, ("n_trials=6",), "pruning"),
    "hyperparameter choice": (leak_choice, ("n_trials=6", "pruner=none"), "choice"),
    "stacking": (leak_decision(Combiner, "fit"), ("ensemble.combiners=[linear_stack]",), "combiner"),
    "calibration": (
        leak_decision(Calibrator, "fit"),
        ("ensemble.combiners=[mean]", "ensemble.calibrators=[platt]"),
        "calibrator",
    ),
    "threshold": (leak_decision(ThresholdRule, "choose"), (), "threshold"),
}
ORDER = (
    "parameters",
    "pruning",
    "fitted state",
    "early stopping",
    "predictions",
    "value",
    "choice",
    "combiner",
    "calibrator",
    "figures of the ensemble's choice",
    "threshold",
)


@pytest.mark.parametrize("point", LEAKS)
def test_a_planted_leak_is_caught_where_it_is(point, tmp_path, monkeypatch):
    plant, settings, first = LEAKS[point]
    plant(monkeypatch)
    with pytest.raises(NotClean, match="other test records change ") as caught:
        run_counterfactual(tmp_path, *settings)
    found = kinds(caught.value.changed)
    assert found <= set(ORDER)
    assert min(found, key=ORDER.index) == first  # nothing that comes before it in the procedure
    assert ("early stopping" in found) == (point == "early stopping")
    arrays = changed_arrays(tmp_path)
    own = {"featurizer fit": "knots", "scaling": "centre", "imputation": "median"}
    assert {name for name in own.values() if any(name in array for array in arrays)} == (
        {own[point]} if point in own else set()
    )


def changed_arrays(folder) -> set[str]:
    """Arrays of the first fit's fitted featurizer that differ between the search and its counterfactual."""
    states = []
    for name in ("real", "scratch0"):
        search = wired(folder / name).search
        ledger = search.backend.ledger
        keys = [key for key in ledger.studies("study") if key.model == "logistic"]
        if not keys:
            return set()
        fit = ledger.tickets(keys[0])[0].fits[0]
        ledger.artifacts.get_folder(fit.model, folder / f"state of {name}")
        states.append(load_arrays(folder / f"state of {name}" / "featurizer.npz"))
    return {name for name, array in states[0].items() if not np.array_equal(array, states[1][name])}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    run_search(tiny_config("beats", folder, "models=[logistic]", "n_trials=2"), [])
    return folder / "tiny-beats-nested"


@pytest.fixture
def finished(searched, tmp_path):
    """A copy to spoil; its ledger is the same."""
    return shutil.copytree(searched, tmp_path / searched.name)


def recheck(folder) -> None:
    certify_run(folder, counterfactual=False, folds=None, progress=SILENT)


def test_a_finished_run_certifies(finished, capsys):
    recheck(finished)
    assert "certificate holds for 3 folds" in capsys.readouterr().out
    sealed = json.loads((finished / "checksums.json").read_text())
    there = {p.relative_to(finished).as_posix() for p in finished.rglob("*") if p.is_file()}
    in_bundle = {name for name in there if name.startswith("bundle/")}
    assert set(sealed) == (there - in_bundle - {"checksums.json"}) | {"bundle/checksums.json"}


def test_every_file_of_a_run_that_is_missing_or_altered_is_named(finished):
    names = [p.relative_to(finished).as_posix() for p in finished.rglob("*") if p.is_file()]
    assert len(names) > 30
    for name in names:
        path, what = finished / name, re.escape(name)
        content = path.read_bytes()
        path.write_bytes(content + b" ")
        with pytest.raises(BundleError, match=f"{what}: altered"):
            recheck(finished)
        path.write_bytes(b"\xff\xfe")
        with pytest.raises(BundleError, match=f"{what}: altered"):
            recheck(finished)
        path.unlink()
        with pytest.raises(BundleError, match=f"{what}: (missing|cannot be read)"):
            recheck(finished)
        path.write_bytes(content)
    recheck(finished)


def test_what_is_written_again_is_sealed_again_and_nothing_else(finished):
    assert main(["explain", str(finished), "--records", "10"]) == 0
    assert main(["report", str(finished)]) == 0
    recheck(finished)
    slices = finished / "slices.json"
    slices.write_text(slices.read_text() + " ")
    assert main(["report", str(finished)]) == 0
    with pytest.raises(BundleError, match=r"slices\.json: altered"):
        recheck(finished)


@pytest.mark.parametrize("change", ["an entry", "one left out", "a space"])
def test_an_altered_list_of_checksums_is_named_and_no_report_seals_it(change, finished, capsys):
    path = finished / "checksums.json"
    entries = json.loads(path.read_text())
    if change == "an entry":
        entries["slices.json"] = "0" * 64
    if change == "one left out":
        del entries["slices.json"]
    path.write_text(json.dumps(entries, indent=2) + " " * (change == "a space"))
    with pytest.raises(BundleError, match=r"checksums\.json: altered since the run wrote it"):
        recheck(finished)
    assert main(["report", str(finished)]) != 0
    assert "checksums.json: altered since the run wrote it" in capsys.readouterr().err
    with pytest.raises(BundleError, match=r"checksums\.json: altered since the run wrote it"):
        recheck(finished)


def test_a_run_of_an_earlier_version_has_its_own_word_alone(finished, monkeypatch, capsys):
    monkeypatch.setattr(SqlLedger, "result_names", without_seals(SqlLedger.result_names))
    recheck(finished)
    assert "checksums.json is not in the ledger" in capsys.readouterr().out


def without_seals(names):
    return lambda self, study_name, prefix: [] if prefix == "seal/" else names(self, study_name, prefix)


def test_a_page_written_where_the_ledger_is_not_is_not_sealed(finished, tmp_path, monkeypatch, capsys):
    before = (finished / "checksums.json").read_text()
    monkeypatch.setattr("ehrbench.app.certifying.open_ledger", unreachable)
    assert main(["report", str(finished)]) == 0
    assert "not sealed: the run's ledger is not here" in capsys.readouterr().out
    assert (finished / "checksums.json").read_text() == before


def unreachable(settings):
    raise StorageError("no such server")


def test_a_run_of_other_code_is_not_explained_nor_run_again(finished, monkeypatch, capsys):
    """Its access log is still certified: that takes no model."""
    monkeypatch.setattr("ehrbench.app.building.code_digest", lambda: "other")
    recheck(finished)
    assert main(["explain", str(finished)]) != 0
    said = capsys.readouterr().err
    assert "made by other code or settings than these, at commit" in said
    with pytest.raises(StudyMismatch, match="check that commit out"):
        certify_run(finished, counterfactual=True, folds=[0], progress=SILENT)


def test_every_step_of_the_procedure_stands_in_the_certificate(finished):
    for fold in json.loads((finished / "certificate.json").read_text())["folds"]:
        steps = {"fit", "stop", "select", "prune", "stack", "calibrate", "threshold"}
        assert set(fold["purposes"]) == steps | ({"test"} if fold["name"] != "all" else set())
        for step in steps:
            assert fold["purposes"][step]["outer_test_records"] == 0
            assert fold["purposes"][step]["records"] == fold["train"]["records"]


def test_a_step_that_asked_for_no_records_is_not_clean(tmp_path):
    search = wired(tmp_path, "models=[logistic]").search
    for fold in search.split.all_folds:
        search.study("logistic", fold).run(SILENT)
    with pytest.raises(NotClean, match="no record was handed out for stack, so it was done behind the door"):
        certify(search)


def test_an_altered_certificate_does_not_hold(finished):
    path = finished / "certificate.json"
    content = json.loads(path.read_text())
    content["folds"][0]["purposes"]["fit"]["records"] -= 1
    path.write_text(json.dumps(content))
    with pytest.raises(BundleError, match=r"certificate\.json: altered"):
        recheck(finished)
    seal(finished, None)  # as one would who cannot write to the ledger
    with pytest.raises(BundleError, match=r"checksums\.json: altered .* not in the ledger"):
        recheck(finished)
    seal(finished, ledger_of(finished))
    with pytest.raises(NotClean, match=r"certificate\.json: folds is not what data and ledger say"):
        recheck(finished)


def test_counterfactual_from_the_command_line_runs_a_fold_again(finished, capsys):
    certify_run(finished, counterfactual=True, folds=[1], progress=SILENT)
    assert "unchanged by other test records" in capsys.readouterr().out


def test_a_fit_without_its_access_row_is_not_clean(tmp_path):
    search = wired(tmp_path).search
    study = search.study("logistic", search.split.outer[0])
    search.dataset.persist = lambda *_: None  # type: ignore[method-assign]
    study.run(SILENT)
    with pytest.raises(NotClean, match="its training records are not in the access log"):
        certify(search)
