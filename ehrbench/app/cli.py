"""The command ``ehrbench``: data and serving. Searches are Hydra's, under ``experiments/``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from ehrbench.app import operating
from ehrbench.app.building import build_task
from ehrbench.app.console import terminal
from ehrbench.app.entry import CONF
from ehrbench.app.places import place
from ehrbench.core.errors import ConfigError, EhrbenchError
from ehrbench.core.task import Task
from ehrbench.infra.settings import Settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0, or the error's exit code after one line on standard error."""
    try:
        Settings.load(Path(".env"), os.environ)
        options = build_parser().parse_args(arguments)
        options.run_command(options)
    except EhrbenchError as error:
        print(f"ehrbench: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ehrbench", description="Clinical prediction, searched and certified."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    data = commands.add_parser("data", help="get, simulate or describe a task's data")
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
    for verb in (get, simulate, describe):
        verb.add_argument("task", help=f"one of {', '.join(task_names())}")
        root = Path(os.environ.get("EHRBENCH_DATA") or "data")
        verb.add_argument(
            "--root", type=place, default=root, help="data folder (default: EHRBENCH_DATA, or data)"
        )
    report = commands.add_parser("report", help="write a run's report.html again")
    report.add_argument("run", type=place, metavar="RUN", help="its folder, such as runs/quickstart")
    report.set_defaults(run_command=_report)
    explain = commands.add_parser("explain", help="take a finished run's outer-test predictions apart")
    explain.add_argument("run", type=place, metavar="RUN", help="its folder, such as runs/quickstart")
    explain.add_argument(
        "--records", type=int, metavar="N", help="records attributed (default: the run's own)"
    )
    explain.set_defaults(run_command=_explain)
    compare = commands.add_parser("compare", help="one page for several runs, with paired tests")
    compare.add_argument("runs", type=place, nargs="+", metavar="RUN")
    compare.add_argument(
        "--output",
        type=place,
        default=Path("comparison.html"),
        metavar="FILE",
        help="default: comparison.html",
    )
    compare.add_argument("--metric", help="default: the first run's")
    compare.set_defaults(run_command=_compare)
    certify = commands.add_parser("certify", help="check a finished search's leakage certificate again")
    certify.add_argument("run", type=place, metavar="RUN", help="its folder, such as runs/quickstart")
    certify.add_argument(
        "--counterfactual",
        action="store_true",
        help="also run outer folds again on other test records and demand that nothing fitted changes",
    )
    certify.add_argument("--folds", type=int, nargs="+", metavar="K", help="outer folds to run again (all)")
    certify.set_defaults(run_command=_certify)
    operating.add_commands(commands)
    serve = commands.add_parser("serve", help="answer HTTP requests from a bundle")
    serve.add_argument(
        "--bundle",
        type=place,
        required=True,
        metavar="DIR",
        help="its folder, such as runs/quickstart/bundle",
    )
    serve.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: this machine alone)"
    )
    serve.add_argument("--port", type=int, default=8000, help="default 8000; 0: any free one")
    serve.add_argument("--threads", type=int, default=1, help="CPU threads of one prediction (default 1)")
    serve.set_defaults(run_command=_serve)
    return parser


def task_names() -> list[str]:
    """Tasks that have a YAML under conf/task."""
    return sorted(path.stem for path in (CONF / "task").glob("*.yaml"))


def load_task(name: str) -> Task:
    """The task of ``conf/task/<name>.yaml``, with its default settings."""
    if name not in task_names():
        raise ConfigError("task", f"there is no task {name!r}", f"choose one of {', '.join(task_names())}")
    config = OmegaConf.create({"task": OmegaConf.load(CONF / "task" / f"{name}.yaml")})
    content = OmegaConf.to_container(config.task.build, resolve=True)
    assert isinstance(content, dict)
    return build_task({"build": {str(k): v for k, v in content.items()}})


def _get(options: argparse.Namespace) -> None:
    _, progress = terminal()
    load_task(options.task).download(options.root, options.source, progress)
    print(f"{options.task}: {options.root}")


def _simulate(options: argparse.Namespace) -> None:
    if options.records < 20:
        raise ConfigError("--records", f"{options.records} are too few to split", "give 20 or more")
    _, progress = terminal()
    load_task(options.task).simulate(options.root, options.records, options.seed, progress)
    print(f"{options.task}: {options.records} SIMULATED records in {options.root}")


def _describe(options: argparse.Namespace) -> None:
    _, progress = terminal()
    task = load_task(options.task)
    cohort = task.read(options.root, options.sets or task.default_sets(), progress)
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
    from ehrbench.app.certifying import ledger_of
    from ehrbench.app.sealing import PAGE, seal
    from ehrbench.report import write_report

    _, progress = terminal()
    print(write_report(options.run, progress=progress))
    if not seal(options.run, ledger_of(options.run), PAGE):
        print("not sealed: the run's ledger is not here, or its search has not sealed it")


def _explain(options: argparse.Namespace) -> None:
    from ehrbench.app.explaining import explain_run

    _, progress = terminal()
    print(explain_run(options.run, options.records, progress))
    print(f"the page shows them after: ehrbench report {options.run}")


def _compare(options: argparse.Namespace) -> None:
    from ehrbench.report import compare_runs

    _, progress = terminal()
    print(compare_runs(options.runs, options.output, metric=options.metric, progress=progress))


def _certify(options: argparse.Namespace) -> None:
    from ehrbench.app.certifying import certify_run

    _, progress = terminal()
    certify_run(options.run, counterfactual=options.counterfactual, folds=options.folds, progress=progress)


def _serve(options: argparse.Namespace) -> None:
    from ehrbench.serve.run import serve

    serve(options.bundle, options.host, options.port, options.threads)


if __name__ == "__main__":
    sys.exit(main())
