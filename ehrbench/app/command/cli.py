"""The command ``ehrbench``. What Hydra composes (search, train, evaluate, predict) goes to ``commands``."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from ehrbench.app.command import (
    inspecting,
    load_testing,
    operating,
    registering,
    serving_options,
    simulating_traffic,
    watching_store,
)
from ehrbench.app.command.retraining import add_from_feedback
from ehrbench.app.command.usage import PURPOSE
from ehrbench.app.composed.conf import CONF, task_file, task_names
from ehrbench.app.composed.console import command, shown, terminal
from ehrbench.app.composed.entry import check_text, spell_unprintable
from ehrbench.core.errors import ConfigError, EhrbenchError
from ehrbench.core.places import argument, home
from ehrbench.core.run_folder import PAGE, RunFolder
from ehrbench.infra.settings import Environment

if TYPE_CHECKING:
    from ehrbench.core.task import Publisher


class _Parser(argparse.ArgumentParser):
    """Takes positional arguments wherever they stand: argparse alone gives up on those behind an option."""

    _inside = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._inside or any(action.nargs == argparse.PARSER for action in self._actions):
            return super().parse_known_args(args, namespace)
        self._inside = True  # which the method below calls in its turn
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._inside = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0, or the error's exit code after one line on standard error."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for n_words in (1, 2):
        if (name := " ".join(given[:n_words])) in PURPOSE:
            from ehrbench.app.command.commands import run  # which a server has no packages for

            run(name, given[n_words:])
            return 0
    spell_unprintable()
    try:
        check_text(sys.argv if arguments is None else ["ehrbench", *arguments])
        Environment.load(Path(".env"), os.environ)
        options = build_parser().parse_args(arguments)
        options.run_command(options)
    except EhrbenchError as error:
        print(f"ehrbench: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="ehrbench", description="Clinical prediction, searched and certified.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    pipeline = commands.add_parser("pipeline", help="from data to a served bundle, once or again and again")
    rounds = pipeline.add_subparsers(required=True, metavar="VERB")
    for name, (purpose, example) in PURPOSE.items():
        brief = re.split("[;,:]", purpose)[0].rstrip(".")
        group, _, last = name.rpartition(" ")
        parent, brief = (rounds if group else commands), brief[0].lower() + brief[1:]
        composed = parent.add_parser(last, help=brief, epilog=f"{name} {example}")
        composed.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    data = commands.add_parser("data", help="get, simulate or describe a task's data; sets of told outcomes")
    verbs = data.add_subparsers(required=True, metavar="VERB")
    get = verbs.add_parser("get", help="download the publisher's files (resumable, checked)")
    get.add_argument("--from", dest="source", metavar="URL", help="another base URL; file:// too")
    get.set_defaults(run_command=_get)
    simulate = verbs.add_parser("simulate", help="write a simulated cohort in the publisher's format")
    simulate.add_argument("--records", type=int, default=2000, help="records in all (default 2000)")
    simulate.add_argument("--seed", type=int, default=0, help="another one gives other records (default 0)")
    simulate.set_defaults(run_command=_simulate)
    describe = verbs.add_parser("describe", help="read the data and say what is there")
    describe.add_argument("--sets", nargs="+", help="sets to read (default: the task's)")
    describe.set_defaults(run_command=_describe)
    add_from_feedback(verbs)
    for verb in (get, simulate, describe):
        verb.add_argument("task", help=f"one of {', '.join(task_names())}")
        root = home(os.environ.get("EHRBENCH_DATA") or "data", "EHRBENCH_DATA")
        verb.add_argument(
            "--root", type=argument, default=root, help="data folder (default: EHRBENCH_DATA, or data)"
        )
    report = commands.add_parser("report", help="write a run's report.html again")
    report.add_argument("run", type=argument, metavar="RUN", help="its folder, such as runs/quickstart")
    report.set_defaults(run_command=_report)
    explain = commands.add_parser("explain", help="take a finished run's outer-test predictions apart")
    explain.add_argument("run", type=argument, metavar="RUN", help="its folder, such as runs/quickstart")
    explain.add_argument(
        "--records", type=int, metavar="N", help="records attributed (default: the run's own)"
    )
    explain.set_defaults(run_command=_explain)
    compare = commands.add_parser("compare", help="one page for several runs, with paired tests")
    compare.add_argument("runs", type=argument, nargs="+", metavar="RUN")
    compare.add_argument(
        "--output",
        type=argument,
        default=Path("comparison.html"),
        metavar="FILE",
        help="default: comparison.html",
    )
    compare.add_argument("--metric", help="default: the first run's")
    compare.set_defaults(run_command=_compare)
    certify = commands.add_parser("certify", help="check a finished search's leakage certificate again")
    certify.add_argument("run", type=argument, metavar="RUN", help="its folder, such as runs/quickstart")
    certify.add_argument(
        "--predictions",
        action="store_true",
        help="also predict outer tests again, by exported models in a process that can read no outcomes",
    )
    certify.add_argument(
        "--counterfactual",
        action="store_true",
        help="that, and run outer folds again on other test records: nothing fitted may change",
    )
    certify.add_argument("--folds", type=int, nargs="+", metavar="K", help="outer folds to do again (all)")
    certify.set_defaults(run_command=_certify)
    operating.add_commands(commands)
    inspecting.add_commands(commands)
    registering.add_commands(commands)
    serving_options.add_serve(commands)
    load_testing.add_load_test(commands)
    simulating_traffic.add_simulate_traffic(commands)
    watching_store.add_monitor(commands)
    return parser


def load_publisher(name: str) -> Publisher:
    """The publisher of ``conf/task/<name>.yaml`` and its task, with their default settings."""
    if name not in task_names():
        raise ConfigError("task", f"there is no task {name!r}", f"choose one of {', '.join(task_names())}")
    from ehrbench.app.wired.building import build_publisher, build_task

    task = OmegaConf.load(task_file(name))
    config = OmegaConf.create({"data": OmegaConf.load(CONF / "config.yaml").data, "task": task})
    content = OmegaConf.to_container(config.task, resolve=True)
    assert isinstance(content, dict)
    return build_publisher(content["publisher"], build_task(content["build"]))


def _get(options: argparse.Namespace) -> None:
    _, progress = terminal()
    load_publisher(options.task).download(options.root, options.source, progress)
    print(f"{options.task}: {options.root}")


def _simulate(options: argparse.Namespace) -> None:
    if options.records < 20:
        raise ConfigError("--records", f"{options.records} are too few to split", "give 20 or more")
    _, progress = terminal()
    load_publisher(options.task).simulate(options.root, options.records, options.seed, progress)
    print(f"{options.task}: {options.records} SIMULATED records in {options.root}")


def _describe(options: argparse.Namespace) -> None:
    _, progress = terminal()
    publisher = load_publisher(options.task)
    task = publisher.task
    cohort = publisher.cohort(options.root, options.sets or publisher.default_sets(), progress)
    records = cohort.records
    print(f"{options.task}: sets {', '.join(cohort.sets)} under {options.root} ({cohort.label})")
    for step, count in cohort.flow.items():
        print(f"  {step:48} {count:>10,}")
    print(f"  {'units':48} {records.total_units:>10,}")
    for number, name in enumerate(task.target.classes):
        positive = int((records.labels[:, number] == 1).sum())
        print(f"  {name:48} {positive:>10,} ({positive / records.total_units:.2%})")
    for skipped in cohort.skipped[:10]:
        print(f"  skipped: {skipped.file} record {skipped.record} {skipped.field}: {skipped.problem}")
    print(f"  digest {cohort.digest}")


def _report(options: argparse.Namespace) -> None:
    from ehrbench.app.runs.finished import ledger_of
    from ehrbench.app.runs.sealing import seal
    from ehrbench.report import failures, write_report

    _, progress = terminal()
    run = RunFolder.open(options.run)
    print(shown(write_report(run.path, progress=progress)))
    for path in failures(run.path):
        print(f"not made: {path.stem}; why: {shown(path)}; please report it")
    if not seal(run, ledger_of(run), PAGE):
        print("not sealed: the run's ledger is not here, or its search has not sealed it")


def _explain(options: argparse.Namespace) -> None:
    from ehrbench.app.runs.explaining import explain_run

    _, progress = terminal()
    path = explain_run(options.run, options.records, progress)
    print(shown(path))
    print(f"the page shows them after: {command('ehrbench', 'report', path.parent)}")


def _compare(options: argparse.Namespace) -> None:
    from ehrbench.report import compare_runs

    _, progress = terminal()
    print(compare_runs(options.runs, options.output, metric=options.metric, progress=progress))


def _certify(options: argparse.Namespace) -> None:
    from ehrbench.app.runs.certifying import Again, certify_run

    _, progress = terminal()
    certify_run(options.run, Again(options.predictions, options.counterfactual, options.folds), progress)


if __name__ == "__main__":
    sys.exit(main())
