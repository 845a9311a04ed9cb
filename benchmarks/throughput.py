"""What a trial costs here and in plain Optuna: the same server, sampler, workers and sleeping objective.

    python -m benchmarks.throughput --workers 32 --rounds 5

Before the clock starts every worker, ours and plain alike, imports what it needs, connects, and spends a
small study of its own in an SQLite file, so that the search is timed and not Python's start and end. Times
run from the moment all workers are ready until the last finds the budget spent. ``steady`` is the share of
their time that workers slept between the first round and the last one. CPU is user and system time after the
start, of all workers and of the server: unlike the rest it means something on a busy machine.

A trial here is two fits of half the time each, with lease, ledger, artifacts and the copy for dashboards.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
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
PROCESSES.set_forkserver_preload(["tests.spine.sleeping"])  # not __name__: that is __main__ under -m
PLAIN = "plain"
#: Trials before the clock starts: more than the sampler draws at random.
WARM_UP = 15
#: How often an idle worker looks again, in seconds.
POLL_S = 0.2
#: Sleeps of a trial.
SLEEPS = {"ours": 2, "plain": 1}


def ours(database: Database, folder: Path, n_trials: int, seconds: float) -> Callable[[], None]:
    study = sleeping_study(database, folder, n_trials=n_trials, seconds=seconds / SLEEPS["ours"])

    def go() -> None:
        while not study.spent():
            if not study.run(SILENT) and not study.help(SILENT):
                time.sleep(POLL_S)

    return go


def plain(database: Database, folder: Path, n_trials: int, seconds: float) -> Callable[[], None]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=PLAIN,
        storage=optuna_storage(database),
        sampler=optuna.samplers.TPESampler(constant_liar=True),
        direction="maximize",
        load_if_exists=True,
    )

    def objective(trial: optuna.Trial) -> float:
        x, n = trial.suggest_float("x", 0, 1), trial.suggest_int("n", 1, 9)
        with (folder / "log").open("a", encoding="utf-8") as file:
            file.write(f"{trial.number} {time.time()}\n")
        time.sleep(seconds)
        return x / n

    return lambda: study.optimize(objective, callbacks=[MaxTrialsCallback(n_trials)])


Work = Callable[[Database, Path, int, float], Callable[[], None]]


def worker(
    work: Work,
    database: Database,
    folder: Path,
    n_trials: int,
    seconds: float,
    ready: Barrier,
    spent: SimpleQueue[tuple[float, float]],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        work(Database.sqlite(Path(name) / "warm.db"), Path(name), WARM_UP, 0.0)()
    go = work(database, folder, n_trials, seconds)
    ready.wait()
    began = time.process_time()
    go()
    spent.put((time.time(), time.process_time() - began))


@dataclass(frozen=True)
class Measured:
    """Seconds; CPU of all workers together."""

    wall_s: float
    workers_s: float
    server_s: float


def measure(
    work: Work,
    server: MariaDb,
    database: Database,
    folder: Path,
    workers: int,
    n_trials: int,
    seconds: float,
) -> Measured:
    """``workers`` processes that spend ``n_trials``."""
    folder.mkdir(parents=True)
    work(database, folder, n_trials, seconds)  # makes the tables
    ready, spent = PROCESSES.Barrier(workers + 1), PROCESSES.SimpleQueue()
    arguments = (work, database, folder, n_trials, seconds, ready, spent)
    processes = [PROCESSES.Process(target=worker, args=arguments) for _ in range(workers)]
    for process in processes:
        process.start()
    ready.wait()
    began, server_began = time.time(), server_cpu_s(server)
    for process in processes:
        process.join()
    server_s = server_cpu_s(server) - server_began
    if any(process.exitcode for process in processes):
        raise RuntimeError("a worker failed: its traceback stands above")
    ended, workers_s = zip(*(spent.get() for _ in processes), strict=True)
    if work is ours:
        check_exact(sleeping_study(database, folder, n_trials=n_trials), folder / "log", 2)
    return Measured(max(ended) - began, sum(workers_s), server_s)


def server_cpu_s(server: MariaDb) -> float:
    """User and system seconds of the server's process (Linux: proc(5), fields 14 and 15 of stat)."""
    assert server.process is not None
    fields = Path(f"/proc/{server.process.pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def steady(log: Path, workers: int, sleeps: int, seconds: float) -> float | None:
    """Share of the workers' time spent asleep between the first round and the last; None of few rounds."""
    times = sorted(float(line.split()[1]) for line in log.read_text(encoding="utf-8").splitlines())
    inner = times[sleeps * workers : -sleeps * workers]
    if len(inner) < 2 * sleeps * workers or not seconds:
        return None
    return (len(inner) - 1) * seconds / sleeps / (workers * (inner[-1] - inner[0]))


def compare(server: MariaDb, folder: Path, workers: int, n_trials: int, seconds: float) -> None:
    """Print one line for each of the two, run one after the other."""
    for work in (ours, plain):
        name = f"{work.__name__}_{workers}_{int(1000 * seconds)}"
        database = server.database(name)
        spent = measure(work, server, database, folder / name, workers, n_trials, seconds)
        ideal = -(-n_trials // workers) * seconds
        study = optuna.load_study(
            study_name=PLAIN if work is plain else str(KEY), storage=optuna_storage(database)
        )
        states = Counter(trial.state.name for trial in study.get_trials(deepcopy=False))
        each = 1000 / n_trials
        said = [f"{n_trials} asked, {dict(states)} made, {spent.wall_s:6.2f} s"]
        if seconds:
            said.append(f"{ideal / spent.wall_s:.1%} of ideal")
        else:
            said.append(f"{each * spent.wall_s:.1f} ms a trial")
        share = steady(folder / name / "log", workers, SLEEPS[work.__name__], seconds)
        if share is not None:
            said.append(f"steady {share:.1%}")
        said.append(f"CPU a trial {each * spent.workers_s:.1f} ms + server {each * spent.server_s:.1f} ms")
        print(
            f"{work.__name__:5} {workers:2} workers, {seconds:4.2f} s a trial: {', '.join(said)}", flush=True
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
