"""Scheduling: ``ehrbench pipeline schedule``: a round of the pipeline whenever one is due.

A round is a process of its own, so that nothing of it stays behind and nothing that ends it ends the
schedule. It searches under a name of its own (data have changed since the last), which stands in
``<runs_dir>/<base>.schedule.json`` before it begins: a round that was cut short is taken up again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ehrbench.app.composed.checking import check
from ehrbench.app.composed.pipeline_settings import Schedule, pipeline_settings
from ehrbench.core.errors import StorageError
from ehrbench.core.files import write_json

TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Round:
    """One run of the pipeline. began, ended: ISO 8601, UTC.

    version, outcomes: of the bundle that was served when it began; answered: the version whose proposal last
    began a round, since one round is enough for each.
    """

    study_name: str
    began: str
    ended: str | None = None
    version: str = ""
    outcomes: int = 0
    answered: str = ""


@dataclass(frozen=True)
class Proposal:
    """What a monitor says of a bundle: whether to retrain, why, and how many outcomes it was told."""

    version: str = ""
    retrain: bool = False
    reasons: tuple[str, ...] = ()
    outcomes: int = 0


def schedule(config: Mapping[str, Any], arguments: Sequence[str], *, once: bool = False) -> None:
    """Look, run what is due, wait, until Ctrl-C; ``arguments``: those of each round. once: look once."""
    settings, search = pipeline_settings(config)
    checked = check(search)
    base = checked.study_name or checked.task.name
    state = Path(checked.runs_dir) / f"{base}.schedule.json"
    while True:
        last = _read(state)
        proposal = ask(settings.schedule.monitoring)
        now = datetime.now(UTC)
        reason = due(settings.schedule, last, proposal, now)
        if reason:
            if last is None or last.ended is not None:
                last = _next(f"{base}-{now:%Y%m%d-%H%M%S}", now, proposal, last)
                write_json(state, asdict(last))
            _say(f"{last.study_name}: {reason}")
            if _run(arguments, last.study_name):
                write_json(state, asdict(last) | {"ended": datetime.now(UTC).isoformat()})
        if once:
            return
        time.sleep(60 * settings.schedule.look_minutes)


def due(schedule: Schedule, last: Round | None, proposal: Proposal, now: datetime) -> str:
    """Why a round shall begin, or go on, now; empty: it need not."""
    if last is None:
        return "the first round"
    if last.ended is None:
        return "goes on where it was stopped"
    days = schedule.every_days
    if days is not None and now - datetime.fromisoformat(last.began) >= timedelta(days=days):
        return f"the last one began {days:g} days ago, or earlier"
    told = proposal.outcomes - (last.outcomes if proposal.version == last.version else 0)
    if schedule.new_outcomes is not None and told >= schedule.new_outcomes:
        return f"{told:,} outcomes were told since the last one"
    if proposal.retrain and proposal.version != last.answered:
        return "; ".join(proposal.reasons) or "the monitor proposes it"
    return ""


def _next(study_name: str, now: datetime, proposal: Proposal, last: Round | None) -> Round:
    before = "" if last is None else last.answered
    answered = proposal.version if proposal.retrain else before
    return Round(study_name, now.isoformat(), None, proposal.version, proposal.outcomes, answered)


def ask(url: str | None) -> Proposal:
    """What the monitor at ``url`` proposes; nothing, and a word of it, where it does not answer."""
    if url is None:
        return Proposal()
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            content = json.load(answer)
        said, version = content["proposal"], str(content["version"])
        return Proposal(
            version, bool(said["retrain"]), tuple(map(str, said["reasons"])), int(said["outcomes"])
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        _say(f"{url} proposes nothing ({getattr(error, 'reason', error)}); the calendar goes on")
    return Proposal()


def _run(arguments: Sequence[str], study_name: str) -> bool:
    """Whether the round came to its end: deployed, or refused by the gate, which trying again changes not."""
    words = [sys.executable, "-m", "ehrbench.app.command.cli", "pipeline", "run"]
    with subprocess.Popen([*words, *arguments, f"study_name={study_name}"]) as begun:
        try:
            code = begun.wait()
        except KeyboardInterrupt:  # told to stop, as by a container's end: it gives its trial back first
            begun.terminate()
            begun.wait()
            raise
    _say(f"{study_name}: ended with {code}")
    return code in (0, 1)


def _read(state: Path) -> Round | None:
    if not state.exists():
        return None
    try:
        return Round(**json.loads(state.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise StorageError(f"{state}: altered or no schedule — mend it, or move it away") from error


def _say(what: str) -> None:
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} {what}", file=sys.stderr, flush=True)
