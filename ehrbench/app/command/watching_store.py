"""Watching a store: ``ehrbench monitor BUNDLE --store …``: what the server's page says, without the server.

For a cron, a scheduler or a person: exit code 1 where an alarm stands, and an event to a webhook.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ehrbench.core.errors import EhrbenchError, StorageError
from ehrbench.core.places import argument

WEBHOOK = "MONITOR_WEBHOOK"


class AlarmRaised(EhrbenchError):
    """Something about a served bundle is not as it was promised."""

    exit_code = 1


def add_monitor(commands: Any) -> None:
    """The parser of ``ehrbench monitor``."""
    monitor = commands.add_parser("monitor", help="drift, figures by outcomes and alarms of a served bundle")
    monitor.add_argument("bundle", type=argument, metavar="BUNDLE", help="that was served")
    monitor.add_argument("--store", required=True, metavar="FILE|URL", help="of ehrbench serve --store")
    monitor.add_argument(
        "--n", type=int, default=1000, help="latest records compared with training, column by column (1000)"
    )
    monitor.add_argument("--report", type=argument, metavar="FILE.html", help="the page, as one file")
    monitor.add_argument("--json", action="store_true", help="everything, for programs")
    monitor.set_defaults(run_command=_monitor)


def _monitor(options: argparse.Namespace) -> None:
    from ehrbench.infra.settings import Environment
    from ehrbench.registry import webhook

    address = Environment.read().monitor_webhook
    if address:
        webhook.check_address(WEBHOOK, address.reveal())
    found = look(options.bundle, options.store, options.n)
    if options.report:
        from ehrbench.core.files import replacing
        from ehrbench.serve.report_page import report_page

        with replacing(options.report) as output:
            output.write_text(report_page(found), encoding="utf-8")
    print(json.dumps(found, indent=2) if options.json else "\n".join(_lines(found)))
    if not found["alarms"]:
        return
    if address and (why := webhook.post(address.reveal(), event(found))):
        print(f"{WEBHOOK}: not told of it ({why})")
    first = found["alarms"][0]
    more = f" and {len(found['alarms']) - 1} more" * (len(found["alarms"]) > 1)
    remedy = "look at the report, and retrain where it bears out"
    raise AlarmRaised(f"{first['kind']} of {first['of']}{more}: {first['told']} — {remedy}")


def look(bundle: Path, store: str, n: int) -> dict[str, Any]:
    """What monitoring finds of a bundle in a store. StorageError where it cannot be read."""
    from sqlalchemy.exc import SQLAlchemyError

    from ehrbench.app.command.serving_options import store_database
    from ehrbench.monitor.monitoring import Watched, monitoring
    from ehrbench.runtime import Bundle
    from ehrbench.serve.kept_observed import kept_rows, observed

    opened = Bundle.load(bundle)
    try:
        with store_database(store).engine.connect() as connection:
            rows = kept_rows(connection, opened.digest)
    except SQLAlchemyError as error:
        problem = type(getattr(error, "orig", None) or error).__name__
        remedy = "name the store of a server that keeps predictions"
        raise StorageError(f"--store: {store} cannot be read ({problem}) — {remedy}") from error
    columns = len(opened.profile.variables) if opened.profile else 0
    seen = observed(rows, opened.manifest.target.n_classes, columns)
    watched = Watched(opened.digest, opened.manifest, opened.profile, len(opened.training_groups))
    return monitoring(watched, seen, n)


def event(found: Mapping[str, Any]) -> dict[str, Any]:
    """What a webhook is told: no record, no prediction."""
    return {
        "event": "monitoring",
        "bundle": found["version"],
        "study_name": found["study_name"],
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "alarms": [f"{alarm['kind']} of {alarm['of']}: {alarm['told']}" for alarm in found["alarms"]],
        "retrain": found["proposal"]["retrain"],
    }


def _lines(found: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{found['study_name']} {found['version'][:12]}: {found['records']:,} records of "
        f"{found['patients']:,} patients, {found['labelled']:,} outcomes told",
        f"drift: {found['drift']['why_not'] or str(found['drift']['looks']) + ' looks'}",
    ]
    for name, of_class in found["classes"].items():
        expected = of_class["expected"]["auroc"]
        said = _said(expected) if expected["value"] is not None else expected["why"]
        lines.append(f"{name}: AUROC before outcomes {said}")
        for figure, one in (of_class["figures"] or {}).items():
            promise = (of_class["promised"] or {}).get(figure, {"value": None})
            told = f", promised {_said(promise)}" if promise["value"] is not None else ""
            lines.append(f"{name}: {figure.replace('_', ' ')} by outcomes {_said(one)}{told}")
    lines += [f"ALARM {alarm['kind']} of {alarm['of']}: {alarm['told']}" for alarm in found["alarms"]]
    lines += [f"retrain: {reason}" for reason in found["proposal"]["reasons"]]
    return lines if found["alarms"] else [*lines, "no alarm"]


def _said(figure: Mapping[str, Any]) -> str:
    if figure["value"] is None:
        return f"none ({figure['why']})"
    ends = "" if figure["low"] is None else f" ({figure['low']:.3f} to {figure['high']:.3f})"
    return f"{figure['value']:.3f}{ends}"
