"""Operating: ``ehrbench study status | doctor | export | replay | sync`` on a ledger that searches are using.

What it needs of the database and of training is imported where it is used: the command that serves a bundle
has neither.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.live import Live
from rich.table import Table

from ehrbench.app.composed.console import plain_console, terminal
from ehrbench.core.errors import ConfigError, EhrbenchError, StorageError
from ehrbench.core.files import replacing
from ehrbench.core.places import argument
from ehrbench.core.run_folder import RunFolder

if TYPE_CHECKING:
    from ehrbench.infra.artifacts import FileArtifacts
    from ehrbench.infra.database import Database
    from ehrbench.infra.ledger import SqlLedger
    from ehrbench.infra.operations import LeaseStatus

#: Seconds between two looks of ``status --watch``.
REFRESH_S = 2.0
#: What conf/storage calls the ledger and the artifacts under ``runs_dir``.
DATABASE, ARTIFACTS = "ehrbench.db", "artifacts"
#: Leases shown; with many workers, those that end first.
LEASES = 20


class NotMended(EhrbenchError):
    """Something is wrong with a search, and stays so."""

    exit_code = 1


class NotRepeated(EhrbenchError):
    """A fit trained again has other bits than the ledger."""

    exit_code = 1


def add_commands(commands: Any) -> None:
    """The parser of ``ehrbench study``."""
    study = commands.add_parser("study", help="look after searches: status, doctor, export, replay, sync")
    verbs = study.add_subparsers(required=True, metavar="VERB")
    status = verbs.add_parser("status", help="studies, budgets, running trials, leases, best, time left")
    status.add_argument("--n-trials", type=int, help="budget of each study, for the time left")
    status.add_argument("--watch", action="store_true", help=f"look again every {REFRESH_S:g} s until Ctrl-C")
    status.set_defaults(run_command=_status)
    doctor = verbs.add_parser("doctor", help="zombies, orphans, missing and half-written artifacts")
    doctor.add_argument("--fix", action="store_true", help="mend what can be mended (otherwise a dry run)")
    doctor.set_defaults(run_command=_doctor)
    export = verbs.add_parser("export", help="tickets or fits as a table")
    export.add_argument("output", type=argument, metavar="FILE.csv|FILE.parquet")
    export.add_argument("--each", choices=("ticket", "fit"), default="ticket", help="a row (default: ticket)")
    export.set_defaults(run_command=_export)
    for verb in (status, doctor, export):
        verb.add_argument("study_name", nargs="?", help="all when left out")
        verb.add_argument("--storage", choices=("sqlite", "mysql"), default="sqlite", help="default: sqlite")
        verb.add_argument(
            "--runs-dir", type=argument, default=Path("runs"), help="runs_dir of the search (runs)"
        )
    again = verbs.add_parser("replay", help="train a bundle's models again and compare bit for bit (CPU)")
    again.add_argument("run", type=argument, metavar="RUN", help="its folder, such as runs/quickstart")
    again.set_defaults(run_command=_replay)
    sync = verbs.add_parser("sync", help="bring a finished run's trackers up to date, if they were away")
    sync.add_argument("run", type=argument, metavar="RUN", help="its folder, such as runs/quickstart")
    sync.add_argument("--mlflow", metavar="URI", help="an MLflow instead (default: the run's own trackers)")
    sync.set_defaults(run_command=_sync)


def _open(options: argparse.Namespace) -> tuple[Database, SqlLedger, FileArtifacts]:
    from ehrbench.infra.artifacts import FileArtifacts
    from ehrbench.infra.database import Database
    from ehrbench.infra.ledger import SqlLedger
    from ehrbench.infra.settings import Environment

    environment = Environment.read()
    path = options.runs_dir / DATABASE
    if options.storage == "sqlite" and not path.is_file():
        raise StorageError(f"{path}: no searches there — name their folder with --runs-dir")
    database = Database.of(options.storage, path, environment)
    database.check()
    url = environment.artifacts_url or str(options.runs_dir / ARTIFACTS)
    folders = environment.checkpoints_dir or None
    artifacts = FileArtifacts(url, environment.object_store_options(), folders=folders)
    ledger = SqlLedger(database.engine, artifacts)
    if options.study_name is not None and not ledger.studies(options.study_name):
        known = ", ".join(sorted({key.study_name for key in ledger.studies()}))
        remedy = f"choose among {known}" if known else "none has begun there"
        raise ConfigError("study_name", f"there is no search {options.study_name!r}", remedy)
    return database, ledger, artifacts


def _status(options: argparse.Namespace) -> None:
    console = plain_console()
    _, ledger, _ = _open(options)
    if not options.watch:
        console.print(_table(ledger, options))
        return
    with Live(_table(ledger, options), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(REFRESH_S)
            live.update(_table(ledger, options), refresh=True)


def _table(ledger: SqlLedger, options: argparse.Namespace) -> Group:
    from ehrbench.infra import operations

    table = Table(title="studies", title_justify="left")
    for name in (
        "study",
        "tickets",
        "complete",
        "pruned",
        "failed",
        "running",
        "helpers",
        "free",
        "fits",
        "best",
        "left",
    ):
        table.add_column(name, justify="left" if name == "study" else "right")
    for line in operations.status(ledger, options.study_name, n_trials=options.n_trials):
        budget = f"{line.n_tickets}" if options.n_trials is None else f"{line.n_tickets}/{options.n_trials}"
        counts = (
            line.complete,
            line.pruned,
            line.failed,
            line.claimed,
            len(line.helpers),
            line.free,
            line.fits,
        )
        best = "–" if line.best is None else f"{line.best:.4f}"
        left = "–" if line.eta_s is None else f"{line.eta_s / 60:.0f} min"
        table.add_row(str(line.study), budget, *map(str, counts), best, left)
    held = operations.leases(ledger, options.study_name)
    return Group(table, _leases(held)) if held else Group(table)


def _leases(held: Sequence[LeaseStatus]) -> Table:
    table = Table(title="leases", title_justify="left")
    for name in ("study", "trial", "worker", "ends in"):
        table.add_column(name, justify="left" if name in ("study", "worker") else "right")
    for lease in held[:LEASES]:
        ends = f"{lease.left_s:.0f} s" if lease.left_s > 0 else "over: its worker is silent"
        table.add_row(str(lease.study), str(lease.number), lease.worker, ends)
    if len(held) > LEASES:
        table.caption = f"and {len(held) - LEASES} more"
    return table


def _doctor(options: argparse.Namespace) -> None:
    from ehrbench.infra import operations
    from ehrbench.infra.study import optuna_storage

    database, ledger, artifacts = _open(options)
    storage = optuna_storage(database)
    findings = operations.doctor(ledger, artifacts, storage, options.study_name, fix=options.fix)
    for finding in findings:
        print(
            f"{'mended' if finding.fixed else 'found'}: {finding.what} ({finding.where}) — {finding.remedy}"
        )
    left = sum(not finding.fixed for finding in findings)
    if left:
        raise NotMended(
            f"findings left: {left} of {len(findings)} — do what their lines say, then look again"
        )
    print("nothing is wrong" if not findings else f"findings left: none of {len(findings)}")


def _export(options: argparse.Namespace) -> None:
    from ehrbench.infra import operations

    if options.output.suffix not in (".csv", ".parquet"):
        raise ConfigError("FILE", f"{options.output} is neither .csv nor .parquet", "end it in one of them")
    _, ledger, _ = _open(options)
    rows = operations.export(ledger, options.study_name, each=options.each)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with replacing(options.output) as output:
        if options.output.suffix == ".parquet":
            import pyarrow as pa
            import pyarrow.parquet as pq

            plain = [{name: _plain(row.get(name)) for name in columns} for row in rows]
            pq.write_table(pa.Table.from_pylist(plain), output)
        else:
            with output.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows(rows)
    print(f"{len(rows)} rows  {options.output}")


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | float | bool) else json.dumps(value)


def _replay(options: argparse.Namespace) -> None:
    from ehrbench.app.runs.finished import wire_run
    from ehrbench.spine.replay import replay

    _, progress = terminal()
    wired = wire_run(RunFolder.open(options.run), progress)
    replayed = replay(wired.search, wired.search.split.final, progress)
    for one in replayed:
        verdict = "same bits" if one.same else "OTHER BITS"
        print(f"{one.model} trial {one.ticket} inner fold {one.fit.fold}: {verdict}")
    if other := [one for one in replayed if not one.same]:
        raise NotRepeated(
            f"{len(other)} of {len(replayed)} fits differ — another CPU, thread count, GPU or package "
            "version than at the first fit explains it; otherwise report a bug"
        )


def _sync(options: argparse.Namespace) -> None:
    from ehrbench.app.search.trackers import sync_run

    for name in sync_run(RunFolder.open(options.run), options.mlflow):
        print(f"{name}: up to date")
