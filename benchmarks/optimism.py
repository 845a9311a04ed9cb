"""Whether what a nested search reports is what new patients would give, and what a plain search would report.

A simulated cohort (``N_COLUMNS`` normal columns in blocks; each block holds one weak sign of the outcome and
noise) is searched by the project's own spine: hyperparameters choose a block and a model's strength, so that
choosing pays, and choosing the luckiest flatters. Each repetition draws a cohort of its own, and as many
fresh patients as asked, and compares

- **nested**: mean AUROC of the ensemble on the outer tests, with the mean AUROC of the same fitted procedures
  on the fresh patients;
- **not nested**: the best inner value of the search over all records (what is reported when the folds that
  chose also judge), with the AUROC of the model that has it, on the fresh patients.

With shuffled labels nothing can be learned: the nested mean must be 0.5 but for chance. Each shuffle is of a
new cohort; shuffles of one cohort would share its columns' means, which bends cross-validation below 0.5.

``python -m benchmarks.optimism --repetitions 60 --shuffles 40``; equal arguments give equal figures.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir
from scipy.special import expit

from ehrbench import metrics
from ehrbench.app.composed.blocks import Settings
from ehrbench.app.composed.checking import check
from ehrbench.app.composed.conf import CONF
from ehrbench.app.composed.console import terminal
from ehrbench.app.composed.entry import resolved
from ehrbench.app.wired.backend import open_backend
from ehrbench.app.wired.wiring import tried
from ehrbench.core.digest import derive_seed
from ehrbench.core.featurizer import Featurizer
from ehrbench.core.model import Model
from ehrbench.core.progress import SILENT, Progress
from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.task import Cohort
from ehrbench.core.types import FloatArray
from ehrbench.core.views import Table, View
from ehrbench.features.rows import Rows
from ehrbench.models.lightgbm import LightGBM
from ehrbench.models.logistic import Logistic
from ehrbench.spine import folds
from ehrbench.spine.dataset import Dataset
from ehrbench.spine.procedure import Chosen, Decided
from ehrbench.spine.race import Race
from ehrbench.spine.search import Contender, Search
from ehrbench.spine.space import read_space
from ehrbench.spine.thresholds import ThresholdRule

TARGET = Target("binary", ("event",))
N_BLOCKS, WIDTH = 8, 5
N_COLUMNS = N_BLOCKS * WIDTH
#: Log odds that one standard deviation of a block's sign adds, and those of a patient with none of them.
SIGN, USUAL = 0.45, -1.0
BLOCK = {"type": "int", "low": 0, "high": N_BLOCKS - 1}
SPACES: dict[str, dict[str, Any]] = {
    "logistic": {"featurizer.block": BLOCK, "C": {"type": "float", "low": 1e-3, "high": 10.0, "log": True}},
    "lightgbm": {"featurizer.block": BLOCK, "num_leaves": {"type": "int", "low": 2, "high": 8}},
}


class Block(Featurizer):
    """One block of the columns, as it is; nothing is fitted."""

    def __init__(self, block: int = 0) -> None:
        self.block = block

    def settings(self) -> dict[str, Any]:
        return {"block": self.block}

    def rows(self, records: Records) -> View:
        payload = records.payload
        assert isinstance(payload, Rows)
        here = slice(WIDTH * self.block, WIDTH * (self.block + 1))
        return Table(payload.values[:, here], payload.names[here])

    def fit_rows(self, view: View) -> None: ...

    def apply(self, view: View) -> View:
        return view

    def state(self) -> dict[str, np.ndarray]:
        return {}

    def restore(self, state: dict[str, np.ndarray]) -> None: ...


@dataclass
class Small:
    """Builds one of two small models on a block."""

    name: str

    def __call__(self, params: dict[str, Any]) -> Model:
        own = {name: value for name, value in params.items() if not name.startswith("featurizer.")}
        block = Block(params.get("featurizer.block", 0))
        if self.name == "logistic":
            return Logistic(target=TARGET, featurizer=block, **own)
        settings = {"n_estimators": 20, "learning_rate": 0.1, "min_data_in_leaf": 10} | own
        return LightGBM(target=TARGET, featurizer=block, **settings)

    def settings(self) -> dict[str, Any]:
        return {"build": self.name}

    def defaults(self) -> dict[str, Any]:
        return {"featurizer.block": 0, "C": 0.1, "num_leaves": 4}


@dataclass
class Estimates:
    """AUROCs by repetition: estimated, and true (on the fresh patients) for the same fitted procedures."""

    nested: list[float] = field(default_factory=list)
    nested_true: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    plain_true: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Size:
    """Of one search and of the fresh patients."""

    records: int = 300
    fresh: int = 100_000
    trials: int = 10
    outer_folds: int = 5
    inner_folds: int = 3
    models: tuple[str, ...] = ("logistic", "lightgbm")


def simulate(n: int, seed: int, *, shuffled: bool = False) -> Records:
    """n patients; ``shuffled``: with their labels dealt out again."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, N_COLUMNS)).astype(np.float32)
    y = rng.random(n) < expit(USUAL + SIGN * x[:, ::WIDTH].sum(axis=1))
    if shuffled:
        y = rng.permutation(y)
    ids = np.array([f"p{i}" for i in range(n)])
    rows = Rows(x, tuple(f"x{i}" for i in range(N_COLUMNS)))
    return Records(ids, ids, rows, np.ones(n, dtype=np.int64), y.astype(float)[:, None])


def estimate(
    size: Size, repetitions: int, seed: int, *, shuffled: bool = False, progress: Progress = SILENT
) -> Estimates:
    """Search so many cohorts and judge each on its fresh patients."""
    found, config = Estimates(), configured()
    with progress.step("shuffled labels" if shuffled else "optimism", repetitions) as bar:
        for repetition in range(repetitions):
            one = derive_seed(seed, "cohort", shuffled, repetition) % 2**31
            records = simulate(size.records, one, shuffled=shuffled)
            fresh = simulate(size.fresh, derive_seed(one, "fresh"), shuffled=shuffled)
            with tempfile.TemporaryDirectory(prefix="ehrbench-") as folder:
                _compare(found, compose_search(records, size, config, kept_in(folder, config, one)), fresh)
            bar.advance()
            bar.note(f"nested {np.mean(found.nested):.4f}, true {np.mean(found.nested_true):.4f}")
    return found


def configured() -> dict[str, Any]:
    """The project's own defaults: sampler, pruner, ensemble, threshold."""
    with initialize_config_dir(str(CONF)):
        return resolved(compose("config", overrides=["tracker=none"]))


def kept_in(folder: str, config: dict[str, Any], seed: int) -> Settings:
    """The defaults with another seed, and a storage of their own."""
    storage = {**config["storage"], "path": f"{folder}/ehrbench.db", "artifacts": f"{folder}/artifacts"}
    return check({**config, "storage": storage, "seed": seed})


def _compare(found: Estimates, search: Search, fresh: Records) -> None:
    auroc, records = search.metric, search.dataset.cohort.records
    search.spend(SILENT)
    outcome = search.conclude(SILENT)
    by_fold = [
        auroc(records.take(tested.index).labels, tested.probabilities["ensemble"], target=TARGET)
        for tested in outcome.tested
    ]
    found.nested.append(float(np.mean(by_fold)))
    found.nested_true.append(float(np.mean([_ensemble_on(fresh, d, search.refit) for d in outcome.decided])))
    best = max(outcome.final.chosen, key=lambda chosen: chosen.row.value or 0.0)
    found.plain.append(float(best.row.value or 0.0))
    found.plain_true.append(auroc(fresh.labels, _probabilities(best, fresh, search.refit), target=TARGET))


def compose_search(records: Records, size: Size, config: dict[str, Any], settings: Settings) -> Search:
    """A nested search of the spine over these records."""
    auroc = metrics.load("auroc")
    cohort = Cohort(records, ("all",), label="simulated")
    contenders = {
        name: Contender(Small(name), read_space(SPACES[name], name), SPACES[name], size.trials)
        for name in size.models
    }
    return Search(
        study_name="optimism",
        task="simulated",
        target=TARGET,
        dataset=Dataset(cohort),
        split=folds.nested(records, size.outer_folds, size.inner_folds, settings.seed),
        contenders=contenders,
        metric=auroc,
        race=Race(auroc, TARGET, settings.pruner.blocks),
        ensemble=tried(settings.ensemble),
        threshold=ThresholdRule(settings.threshold.rule, settings.threshold.value),
        refit=settings.refit,
        seed=settings.seed,
        backend=open_backend(settings),
    )


def _ensemble_on(fresh: Records, decided: Decided, refit: str) -> float:
    """AUROC of a finished procedure on patients that no search has seen."""
    scores = {c.name: TARGET.scores(_probabilities(c, fresh, refit)) for c in decided.chosen}
    return metrics.load("auroc")(fresh.labels, decided.ensemble.predict(scores), target=TARGET)


def _probabilities(chosen: Chosen, fresh: Records, refit: str) -> FloatArray:
    unlabelled = fresh.without_labels()
    return np.asarray(np.mean([model.predict(unlabelled) for model in chosen.models(refit)], axis=0))


def summary(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and its standard error over repetitions."""
    array: FloatArray = np.asarray(values)
    return float(array.mean()), float(array.std(ddof=1) / np.sqrt(len(array)))


def main() -> None:
    size = Size()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=60, help="cohorts with their own labels")
    parser.add_argument("--shuffles", type=int, default=40, help="cohorts with shuffled labels")
    parser.add_argument("--records", type=int, default=size.records)
    parser.add_argument("--fresh", type=int, default=size.fresh)
    parser.add_argument("--trials", type=int, default=size.trials)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    size = Size(options.records, options.fresh, options.trials)
    _, progress = terminal()
    print(f"{size}, seed {options.seed}", flush=True)
    found = estimate(size, options.repetitions, options.seed, progress=progress)
    for name, said, true in (
        ("nested", found.nested, found.nested_true),
        ("not nested", found.plain, found.plain_true),
    ):
        bias, error = summary([a - b for a, b in zip(said, true, strict=True)])
        print(f"{name:10}  estimate {np.mean(said):.4f}  truth {np.mean(true):.4f}  "
              f"bias {bias:+.4f}  standard error {error:.4f}  z {bias / error:+.2f}", flush=True)  # fmt: skip
    null = estimate(size, options.shuffles, options.seed, shuffled=True, progress=progress)
    for name, said in (("nested", null.nested), ("not nested", null.plain)):
        mean, error = summary(said)
        print(f"{name:10}  shuffled labels: mean {mean:.4f}  standard error {error:.4f}  "
              f"z against 0.5 {(mean - 0.5) / error:+.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
