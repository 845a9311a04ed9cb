"""What the race saves and what it costs, on a run recorded without pruning, replayed in many orders.

    python experiments/search.py study_name=full pruner=none ...
    python -m benchmarks.pruning runs/full --orders 200

For each study: trials and folds come in random order (which fold is first is chance, and a winner may owe its
loss of a race to that); after each fold but the last the race may stop the trial. Printed: fits without and
with the race, how often the trial that wins without it won, and by how much the winner's score fell.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna

from ehrbench import metrics
from ehrbench.app.composed.console import terminal
from ehrbench.app.runs.finished import wire_run
from ehrbench.core.run_folder import RunFolder
from ehrbench.core.types import FloatArray
from ehrbench.spine.pruning import RacePruner
from ehrbench.spine.race import Race
from ehrbench.spine.study import Study
from ehrbench.spine.trial import unpack_array


@dataclass(frozen=True)
class Recorded:
    """A complete trial: score and steps of each inner fold."""

    scores: FloatArray  # (k,)
    steps: Sequence[dict[int, float]]

    @property
    def value(self) -> float:
        return float(self.scores.mean())


def recorded(study: Study, race: Race) -> list[Recorded]:
    setting, trials = study.setting, []
    for row in setting.ledger.tickets(study.key):
        if row.state != "complete":
            continue
        fits = sorted(row.fits, key=lambda fit: fit.fold)
        steps = []
        for fit in fits:
            valid = setting.dataset.open(setting.fold, "prune", setting.fold.inner[fit.fold].valid)
            p = unpack_array(setting.ledger.artifacts.get(fit.predictions))
            steps.append(race.steps(valid, p, fit.fold, setting.seed))
        trials.append(Recorded(np.array([fit.score for fit in fits]), steps))
    return trials


def replayed(
    trials: Sequence[Recorded], folds: Sequence[int], pruner: RacePruner, greater: bool
) -> tuple[int, int]:
    """Fold fits spent, and which of the trials wins, when they and their folds come in this order."""
    study = optuna.create_study(direction="maximize" if greater else "minimize", pruner=pruner)
    spent = 0
    for recorded_trial in trials:
        trial = study.ask()
        for n, fold in enumerate(folds, 1):
            spent += 1
            for at, value in recorded_trial.steps[fold].items():
                trial.report(value, at)
            if n < len(folds) and trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, recorded_trial.value)
    return spent, study.best_trial.number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--orders", type=int, default=200)
    parser.add_argument("--blocks", type=int, nargs="+", default=[20])
    parser.add_argument("--chance", type=float, nargs="+", default=[0.2], help="pruner.least_chance")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    _, progress = terminal()
    search = wire_run(RunFolder.open(options.run), progress).search
    for fold in search.split.all_folds:
        for model in search.contenders:
            study = search.study(model, fold)
            for blocks in options.blocks:
                race = Race(metrics.load(search.metric.name), search.target, blocks)
                trials = recorded(study, race)
                for chance in options.chance:
                    greater = search.metric.searched.greater_is_better
                    said = figures(trials, chance, options.orders, greater)
                    print(f"{study.key}, {blocks} blocks, least chance {chance}: {said}", flush=True)


def figures(trials: Sequence[Recorded], chance: float, orders: int, greater: bool) -> str:
    folds, rng = len(trials[0].steps), np.random.default_rng(0)
    pruner = RacePruner(chance)
    sign = 1 if greater else -1
    best = max(sign * trial.value for trial in trials)
    spent, kept, lost = [], 0, []
    for _ in range(orders):
        order = rng.permutation(len(trials))
        n, winner = replayed([trials[i] for i in order], rng.permutation(folds).tolist(), pruner, greater)
        fall = best - sign * trials[order[winner]].value
        spent.append(n)
        kept += fall == 0
        lost.append(fall)
    full = len(trials) * folds
    return (
        f"{len(trials)} trials, {full} fits to {np.mean(spent):.0f} ({full / np.mean(spent):.2f}x fewer), "
        f"winner kept in {kept / orders:.1%}, "
        f"score lost {np.mean(lost):.5f} on average, {max(lost):.5f} at most"
    )


if __name__ == "__main__":
    main()
