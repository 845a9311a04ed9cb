"""What a trial costs here and in plain Optuna: the same server, sampler, workers and sleeping objective.

    python -m benchmarks.throughput --workers 32 --rounds 5

Times run from the moment all workers are ready until the last has stopped. A trial here is two fits of half
the time each, with lease, ledger, artifacts and the copy for dashboards.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import optuna
from optuna.study import MaxTrialsCallback

from ehrbench.core.progress import SILENT
from ehrbench.infra.database import Database
from ehrbench.infra.study import optuna_storage
from tests.infra.servers import MariaDb
from tests.spine.sleeping import KEY, check_exact, sleeping_study

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])
PLAIN = "plain"

Work = Callable[[Database, Path, int, float, Barrier], None]


def ours(database: Database, folder: Path, n_trials: int, seconds: float, ready: Barrier) -> None:
    study = sleeping_study(database, folder, n_trials=n_trials, seconds=seconds / 2)
    ready.wait()
    while not study.spent():
        study.run(SILENT)
        time.sleep(0.02)


def plain(database: Database, folder: Path, n_trials: int, seconds: float, ready: Barrier) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(constant_liar=True)
    study = optuna.load_study(study_name=PLAIN, storage=optuna_storage(database), sampler=sampler)

    def objective(trial: optuna.Trial) -> float:
        x, n = trial.suggest_float("x", 0, 1), trial.suggest_int("n", 1, 9)
        time.sleep(seconds)
        return x / n

    ready.wait()
    study.optimize(objective, callbacks=[MaxTrialsCallback(n_trials)])


def measure(
    work: Work, database: Database, folder: Path, workers: int, n_trials: int, seconds: float
) -> float:
    """Wall seconds of ``workers`` processes that spend ``n_trials``."""
    folder.mkdir(parents=True)
    if work is plain:
        optuna.create_study(study_name=PLAIN, storage=optuna_storage(database), direction="maximize")
    else:
        sleeping_study(database, folder, n_trials=n_trials)
    ready = PROCESSES.Barrier(workers + 1)
    arguments = (database, folder, n_trials, seconds, ready)
    processes = [PROCESSES.Process(target=work, args=arguments) for _ in range(workers)]
    for process in processes:
        process.start()
    ready.wait()
    began = time.perf_counter()
    for process in processes:
        process.join()
    taken = time.perf_counter() - began
    if work is ours:
        check_exact(sleeping_study(database, folder, n_trials=n_trials), folder / "log", 2)
    return taken


def compare(server: MariaDb, folder: Path, workers: int, n_trials: int, seconds: float) -> None:
    """Print one line for each of the two, run one after the other."""
    for work in (ours, plain):
        name = f"{work.__name__}_{workers}_{int(1000 * seconds)}"
        database = server.database(name)
        taken = measure(work, database, folder / name, workers, n_trials, seconds)
        ideal = -(-n_trials // workers) * seconds
        study = optuna.load_study(
            study_name=PLAIN if work is plain else str(KEY), storage=optuna_storage(database)
        )
        states = Counter(trial.state.name for trial in study.get_trials(deepcopy=False))
        share = (
            f", {ideal / taken:.1%} of ideal" if seconds else f", {1000 * taken / n_trials:.1f} ms a trial"
        )
        print(
            f"{work.__name__:5} {workers:2} workers, {seconds:4.2f} s a trial: {n_trials} asked, "
            f"{dict(states)} made, {taken:6.2f} s{share}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--workers", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5, help="trials a worker")
    parser.add_argument("--seconds", type=float, nargs="+", default=[0.05, 2.0], help="of a trial")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = MariaDb(folder)
        try:
            compare(server, folder, 1, 100, 0.0)
            for seconds in options.seconds:
                compare(server, folder, options.workers, options.workers * options.rounds, seconds)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
