"""What ``import ehrbench`` offers: the entry points for Python, by the same code.

>>> import ehrbench as eb
>>> run = eb.search("patients.csv", label="died", models=["logistic"], n_trials=1, protocol="smoke",
...                 report={"explained": 0, "n_bootstrap": 100}, tracker="none")
>>> sorted(run.leaderboard.index)
['ensemble', 'logistic']
>>> bundle = eb.load(run.bundle)
>>> bundle.predict_proba({"age": 71, "ward": "icu", "lactate": 3.1}).shape
(1, 2)

Errors are those of ``ehrbench.core.errors``: one line that names what is wrong and ends with what to do.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ehrbench.app.python.asking import asked
from ehrbench.app.python.predictor import Predictor
from ehrbench.app.python.search_run import SearchRun

if TYPE_CHECKING:
    from ehrbench.app.python.asking import Source


def search(
    data: Source | None = None,
    *,
    task: str = "table",
    label: str | Sequence[str] | None = None,
    models: str | Sequence[str] | None = None,
    n_trials: int | None = None,
    protocol: str | None = None,
    metric: str | None = None,
    study_name: str | None = None,
    runs_dir: str | Path | None = None,
    workers: int | None = None,
    seed: int | None = None,
    test_data: Source | None = None,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    **keywords: Any,
) -> SearchRun:
    """Search hyperparameters inside cross-validation, judge the winner, and leave a bundle that predicts.

    As ``ehrbench search``: the same call goes on where it was stopped (Ctrl-C, or a kernel that died), and a
    search that is finished is judged again from its ledger.

    Parameters
    ----------
    data: a DataFrame (its index is not read) or a file for ``task="table"``; of tasks with a publisher the
        folder of its files.
    task: a name under ``ehrbench/conf/task``.
    label: the column that is predicted, of your own table; several make a multi-label target.
    models: names under ``ehrbench/conf/model``; by default the task's.
    n_trials: of each model in each outer fold.
    protocol: ``"nested"``, ``"holdout"`` (with test_data), ``"temporal"``, ``"file"``, ``"smoke"``.
    metric: what is optimised, a file's name under ``ehrbench/metrics``.
    study_name, runs_dir: the run is left in the folder ``runs_dir/study_name``.
    workers: processes on this machine.
    overrides: any other key, as on the command line (``["protocol.outer_folds=3"]``) or as a mapping
        (``{"protocol.outer_folds": 3}``).
    keywords: keys of ``conf/config.yaml`` (``refit="full"``, ``storage="mysql"``, ``report={...}``), and of
        the task's YAML (``group="patient"``, ``id=…``, ``time=…``, ``columns={...}``, ``drop=[...]``).

    Defaults are those of ``ehrbench/conf``. Settings are read from the environment and ``.env``, as there.
    Raises ConfigError or DataError for what cannot be, before anything is trained.
    """
    named: dict[str, Any] = {
        "task": task,
        "label": label,
        "models": models,
        "n_trials": n_trials,
        "protocol": protocol,
        "metric": metric,
        "study_name": study_name,
        "runs_dir": runs_dir,
        "workers": workers,
        "seed": seed,
    }
    config = asked(data, test_data, {**named, **keywords}, overrides)
    from ehrbench.app.search import searching

    with redirect_stdout(sys.stderr):  # what the search says is no result here: the run is
        searching.search(config)
    return open_run(searching.folder_of(config))


def open_run(folder: str | Path) -> SearchRun:
    """The finished run in a folder such as ``"runs/icu"``. Raises BundleError where there is none."""
    return SearchRun.open(folder)


def load(folder: str | Path, threads: int = 1) -> Predictor:
    """The bundle in a folder such as ``"runs/table-nested/bundle"``, ready to predict.

    threads: cores one prediction may use. Raises BundleError for a file that is missing or altered, and
    where this machine does not get the probability of the exporting one.
    """
    return Predictor.load(folder, threads)
