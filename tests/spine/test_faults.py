"""Whose fault it is: a model's is its trial's; a sampler's, a pruner's or a disk's ends the search."""

from __future__ import annotations

import errno
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from ehrbench.core.errors import ConfigError, StorageError
from ehrbench.core.progress import SILENT
from ehrbench.infra.database import Database
from ehrbench.spine.race import Race
from ehrbench.spine.study import Study
from tests.spine.sleeping import Sleeper, SleeperBuilder, sleeping_study

N_TRIALS = 4


class Broken(optuna.samplers.RandomSampler):
    """Knows no parameter from trial 2 on, as a sampler that lacks a package."""

    def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
        if trial.number >= 2:
            raise ModuleNotFoundError("No module named 'cmaes'")
        return super().sample_independent(study, trial, name, distribution)


class Confused(optuna.pruners.BasePruner):
    def prune(self, study: optuna.Study, trial: Any) -> bool:
        raise ZeroDivisionError("division by zero")


def study_in(folder: Path) -> Study:
    return sleeping_study(Database.sqlite(folder / "ehrbench.db"), folder, n_trials=N_TRIALS, seconds=0.0)


def states(study: Study) -> list[str]:
    return [row.state for row in study.setting.ledger.tickets(study.key)]


def the_rest_completes(folder: Path) -> bool:
    study = study_in(folder)
    study.run(SILENT)
    return states(study) == ["complete"] * N_TRIALS


def test_a_samplers_fault_ends_the_search_and_spends_no_trial(tmp_path):
    study = replace(study_in(tmp_path), make_sampler=lambda seed: Broken(seed=seed))
    with pytest.raises(ConfigError) as ended:
        study.run(SILENT)
    assert str(ended.value).startswith(
        "sampler: Broken fails at trial 2 of study sleep/toy/sleeper/fold0 "
        "(ModuleNotFoundError: No module named 'cmaes') — name another sampler"
    )
    assert states(study) == ["complete", "complete", "free"]
    assert the_rest_completes(tmp_path)


def test_a_pruners_fault_ends_the_search_and_spends_no_trial(tmp_path):
    study = study_in(tmp_path)
    race = Race(study.setting.metric, study.setting.target, blocks=6)
    study = replace(study, setting=replace(study.setting, race=race))
    study.memory.pruner = Confused()
    with pytest.raises(ConfigError, match=r"^pruner: Confused fails at trial 0 .*division by zero"):
        study.run(SILENT)
    assert states(study) == ["free"]
    assert the_rest_completes(tmp_path)


def stumbling(study: Study, error: Exception, *, saving: bool) -> Study:
    """The study with a model that raises ``error`` when it is saved, or when it is fitted."""

    class Stumbling(Sleeper):
        def save(self, directory: Path) -> None:
            if saving:
                raise error
            super().save(directory)

        def fit(self, *arguments: Any, **options: Any) -> Any:
            if not saving:
                raise error
            return super().fit(*arguments, **options)

    class Builder(SleeperBuilder):
        def __call__(self, params: dict[str, Any]) -> Sleeper:
            return Stumbling(params["x"], self.seconds, self._note)

    builder = Builder(0.0, study.setting.builder.log)
    return replace(study, setting=replace(study.setting, builder=builder))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("saving", [True, False])
def test_a_disks_fault_ends_the_search_and_spends_no_trial(number, saving, tmp_path):
    study = stumbling(study_in(tmp_path), OSError(number, "as it says", "/scratch/x"), saving=saving)
    with pytest.raises(StorageError, match=r"^/scratch/x: disk .* — free some space"):
        study.run(SILENT)
    assert states(study) == ["free"]
    assert the_rest_completes(tmp_path)


def test_without_a_folder_for_temporary_files_no_trial_is_spent(tmp_path, monkeypatch):
    study = study_in(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(StorageError, match=r"gone/ehrbench-.*cannot be used \(No such file or directory\)"):
        study.run(SILENT)
    assert states(study) == ["free"]


@pytest.mark.parametrize("saving", [True, False])
def test_a_models_fault_is_its_trials(saving, tmp_path):
    study = stumbling(study_in(tmp_path), ZeroDivisionError("in the model"), saving=saving)
    study.setting.ledger.max_attempts = 2
    study.run(SILENT)
    rows = study.setting.ledger.tickets(study.key)
    assert [(row.state, row.error) for row in rows] == [
        ("failed", "ZeroDivisionError: in the model")
    ] * N_TRIALS
