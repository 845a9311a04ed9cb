"""Registering: ``ehrbench registry register | gate | promote | rollback | deploy | list``.

What trains or judges is imported where it is used.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ehrbench.app.composed.console import line, shown, terminal
from ehrbench.app.runs.releasing import deploy, open_registry, register, tell
from ehrbench.core.places import argument
from ehrbench.registry.promotion import promote, rollback
from ehrbench.registry.release import (
    CHALLENGER,
    CHAMPION,
    GATE,
    PROMOTED,
    NotApproved,
    Registry,
    Release,
    ReleaseName,
)


def add_commands(commands: Any) -> None:
    """The parser of ``ehrbench registry``."""
    registry = commands.add_parser("registry", help="versions of bundles: register, gate, promote, roll back")
    verbs = registry.add_subparsers(required=True, metavar="VERB")
    register = verbs.add_parser("register", help="keep a run's bundle as the next version, the challenger")
    register.add_argument("run", type=argument, metavar="RUN", help="its folder, such as runs/quickstart")
    register.add_argument("--problem", help="default: the task's name")
    register.add_argument("--kind", help="default: the model's name, ensemble where there are several")
    register.add_argument("--features", default="all", help="name of the feature set (default: all)")
    register.set_defaults(run_command=_register)
    gate = verbs.add_parser("gate", help="compare it with the champion: approved, or refused and why")
    gate.add_argument("--limits", type=argument, metavar="FILE", help="YAML; see ehrbench/conf/registry.yaml")
    gate.add_argument("--gate-sets", nargs="+", metavar="SET", help="records that neither has seen")
    for key, what in (
        ("root", "publisher's files"),
        ("file", "a file of labelled records"),
        ("labels", "its outcomes, of series"),
        ("descriptors", "its descriptors, of series"),
    ):
        gate.add_argument(f"--{key}", metavar="PLACE", help=f"of these: {what}")
    gate.set_defaults(run_command=_gate)
    promote = verbs.add_parser("promote", help="make an approved version the champion")
    promote.set_defaults(run_command=_promote)
    back = verbs.add_parser("rollback", help="make the champion before this one the champion again")
    back.set_defaults(run_command=_rollback)
    deploy = verbs.add_parser("deploy", help="put an approved version into a folder to serve from")
    deploy.set_defaults(run_command=_deploy)
    listed = verbs.add_parser("list", help="what is registered, and what happened to it")
    listed.add_argument("--json", action="store_true", help="for programs, with every check")
    listed.set_defaults(run_command=_list)
    for verb in (gate, promote, back, deploy):
        verb.add_argument("name", metavar="NAME", help="problem/kind/features, with /VERSION for one of them")
    deploy.add_argument(
        "folder", type=argument, metavar="FOLDER", help="for ehrbench serve --deployments FOLDER"
    )
    deploy.add_argument("--alias", type=_alias, default=CHAMPION, help="name of the link (default: champion)")
    listed.add_argument("name", nargs="?", metavar="NAME", help="all when left out")
    for verb in (register, gate, promote, back, deploy, listed):
        verb.add_argument(
            "--uri", help="MLflow's address (default: MLFLOW_TRACKING_URI, or a file in --runs-dir)"
        )
        verb.add_argument("--runs-dir", type=argument, default=Path("runs"), help="of the searches (runs)")


def _alias(text: str) -> str:
    if not re.fullmatch(r"\w[\w-]*", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of letters, digits, _ and -")
    return text


def _open(options: argparse.Namespace) -> Registry:
    return open_registry(options.uri, options.runs_dir)


def _register(options: argparse.Namespace) -> None:
    registry = _open(options)
    release = register(registry, options.run, options.problem, options.kind, options.features)
    print(line("registered", release))


def _gate(options: argparse.Namespace) -> None:
    from ehrbench.app.runs.gating import gating, judge_release

    _, progress = terminal()
    name, version = ReleaseName.read(options.name)
    data = {key: getattr(options, key) for key in ("gate_sets", "root", "file", "labels", "descriptors")}
    settings = gating(options.limits, data)
    release, verdict = judge_release(_open(options), name, version, settings, progress)
    for check in verdict.checks:
        print(line(f"{'✓' if check.passed else '✗'} {check.name}", check.told))
    tell("approved" if verdict.approved else "refused", release, reasons=verdict.reasons)
    if not verdict.approved:
        number = len(verdict.reasons)
        raise NotApproved(
            f"{release}: refused by {number} check{'s' * (number > 1)} — mend what the lines above say"
        )
    print(line("approved", f"{release}, against {verdict.against}: ehrbench registry promote {release}"))


def _promote(options: argparse.Namespace) -> None:
    name, version = ReleaseName.read(options.name)
    release = promote(_open(options), name, version or CHALLENGER)
    print(line(CHAMPION, release))
    tell("promoted", release)


def _rollback(options: argparse.Namespace) -> None:
    name, _ = ReleaseName.read(options.name)
    release = rollback(_open(options), name)
    print(line(CHAMPION, release))
    tell("rolled back", release)


def _deploy(options: argparse.Namespace) -> None:
    name, version = ReleaseName.read(options.name)
    release = deploy(_open(options), name, version, options.folder, options.alias)
    print(line("deployed", f"{release} as {shown(options.folder.resolve() / options.alias)}"))


def _list(options: argparse.Namespace) -> None:
    registry = _open(options)
    names = [ReleaseName.read(options.name)[0]] if options.name else registry.names()
    releases = [release for name in names for release in registry.releases(name)]
    if options.json:
        print(json.dumps([_told(release) for release in releases], indent=2))
        return
    print("\n".join(_lines(releases)) if releases else "nothing is registered")


def _lines(releases: Sequence[Release]) -> list[str]:
    found = []
    for release in releases:
        state = ", ".join([release.tags.get(GATE, "not judged yet"), *release.aliases])
        promoted = release.tags.get(PROMOTED, "")[:10]
        found.append(line(str(release), state + f", promoted {promoted}" * bool(promoted), 36))
        found += [line(f"  {name}", told) for name, told in _refused(release).items()]
    return found


def _checks(release: Release) -> dict[str, Any]:
    found = {}
    for key, text in release.tags.items():
        if key.startswith(f"{GATE}."):
            try:
                found[key.removeprefix(f"{GATE}.")] = json.loads(text)
            except ValueError:  # a day, or a tag that its length was cut from
                continue
    return {name: check for name, check in found.items() if isinstance(check, dict)}


def _refused(release: Release) -> dict[str, str]:
    return {name: check["told"] for name, check in _checks(release).items() if not check["passed"]}


def _told(release: Release) -> dict[str, Any]:
    return {**asdict(release), "name": str(release.name), "checks": _checks(release)}
