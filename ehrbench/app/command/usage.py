"""What ``--help`` says before Hydra's own text: what a command is for, its ten keys, and where the rest is.

Defaults are read from the YAML that has them, so that they are written once.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

import yaml

from ehrbench.app.composed.conf import CONF, groups_of, task_names

WIDTH = 79

#: Command -> what it is for, and an example.
PURPOSE = {
    "search": (
        "Searches hyperparameters inside cross-validation, judges the winner on records that no choice has "
        "seen, and leaves page, figures and a bundle that predicts under runs_dir/study_name. The same "
        "command goes on where it was stopped.",
        "task=table data.file=patients.csv task.label=died",
    ),
    "train": (
        "Cross-validates one configuration of each model, without a search.",
        "model=ssm protocol=nested",
    ),
    "evaluate": (
        "Scores a bundle on labelled records it has not seen; writes metrics.json and predictions.csv.",
        "bundle=runs/table-nested/bundle data.sets=[train] data.file=later.csv",
    ),
    "predict": (
        "Predicts raw files without labels; writes one row a record, unit and class.",
        "bundle=runs/table-nested/bundle input=new.csv output=predictions.csv",
    ),
    "pipeline run": (
        "From data to a served bundle: search, register, gate, load test, approve, deploy. Each step is done "
        "once; the same command goes on where it was stopped.",
        "task=table data.file=patients.csv task.label=died",
    ),
    "pipeline schedule": (
        "Runs the pipeline again and again: by the calendar, and where a monitor proposes it.",
        "task=mortality env=prod",
    ),
}

_SEARCHED = {
    "task": "what is predicted, of {tasks}; your own file: table",
    "data.file": "your own file, or a folder of them, for task=table",
    "task.label": "the column to predict, for task=table",
    "data.root": "folder of the publishers' files, for the other tasks",
    "models": "what competes; a task may have defaults of its own",
    "protocol": "nested, holdout, temporal, file, or smoke for a quick try",
}
_PIPELINE = {
    "env": "dev, staging or prod: stores, limits and hands",
    "pipeline.served": "folder of what is served",
    "pipeline.approve": "gate, or hand: after ehrbench registry promote",
}
#: Command -> its keys that matter most, with what they say.
KEYS: dict[str, dict[str, str]] = {
    "search": {
        **_SEARCHED,
        "n_trials": "trials of each study: one a model and outer fold",
        "metric": "what is optimised, of docs/metrics.md",
        "study_name": "null: named after task and protocol",
        "workers": "processes at once; null: one, or one a GPU",
    },
    "train": {
        **_SEARCHED,
        "metric": "what is reported first, of docs/metrics.md",
        "study_name": "null: named after task, protocol, models and settings",
        "runs_dir": "where the run is left",
        "seed": "root of all seeds",
    },
    "evaluate": {
        "bundle": "the bundle's folder; must be given",
        "data.sets": "sets to score; [train] is data.file for task=table; must be given",
        "data.file": "labelled file of your own, for task=table",
        "data.root": "folder of the publishers' files, for the other tasks",
        "output": "folder of what is written; null: beside the bundle",
        "n_bootstrap": "replicates behind each interval",
        "seed": "of those replicates",
        "threads": "CPU threads",
    },
    "predict": {
        "bundle": "the bundle's folder; must be given",
        "input": "a raw file, an archive, or a folder of raw files; must be given",
        "output": "the CSV that is written; must be given",
        "max_skipped": "share of faulty rows above which nothing is written",
        "threads": "CPU threads",
    },
    "pipeline run": {
        **_SEARCHED,
        **_PIPELINE,
        "pipeline.canary": "share of requests while a hand is waited for",
    },
    "pipeline schedule": {
        **_PIPELINE,
        "study_name": "rounds are called after it and their time",
        "pipeline.schedule.every_days": "null: not by the calendar",
        "pipeline.schedule.monitoring": "/monitoring of the server, which may propose one",
        "pipeline.schedule.new_outcomes": "told since the last round, that begin one",
    },
}


def usage(name: str, config: str) -> str:
    """The text, at most ``WIDTH`` columns wide but for paths."""
    purpose, example = PURPOSE[name]
    lines = [f"usage: ehrbench {name} [KEY=VALUE ...]", "", *textwrap.wrap(purpose, WIDTH), ""]
    lines += [f"    ehrbench {name} {example}", ""]
    wide = max(12, *map(len, KEYS[name]))
    for key, said in KEYS[name].items():
        default = default_of(config, key)
        said = said.format(tasks=", ".join(task_names()))
        said += "" if default is None else f" (default: {_shown(default)})"
        lines += textwrap.wrap(
            said, WIDTH, initial_indent=f"  {key:{wide}} ", subsequent_indent=" " * (wide + 3)
        )
    rest = f"All keys: ehrbench {name} KEY=VALUE ... --cfg job; what each is for say the comments of"
    return "\n".join([*lines, "", *textwrap.wrap(rest, WIDTH), str(CONF), "", "Hydra's own words:", ""])


def default_of(config: str, key: str) -> Any:
    """The default of a key, or the choice of a group, in the YAML ``config``; None where it has none."""
    content = yaml.safe_load((CONF / f"{config}.yaml").read_text(encoding="utf-8"))
    groups = groups_of(content)
    group = {"models": "model"}.get(key, key)
    if group in groups:
        return groups[group]
    for part in key.split("."):
        content = content.get(part) if isinstance(content, dict) else None
    return content


def _shown(default: Any) -> str:
    if isinstance(default, list):
        return f"[{','.join(map(str, default))}]"
    text = re.sub(r"\$\{oc\.env:(\w+),(\w+)\}", r"\1, or \2", str(default))
    text = re.sub(r"\$\{task\.\w+\}", "the task's own", text)
    return re.sub(r"\$\{(\w+)\}", r"\1", text)
