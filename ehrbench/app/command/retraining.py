"""Retraining: ``ehrbench data from-feedback``: told outcomes and kept inputs to a labelled set of the task.

A set is a folder that is written once. ``feedback.json`` names it by the digest of its content, and says from
what it was made and what was left out. Of a record that was predicted several times the latest counts.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ehrbench.core.errors import ConfigError, DataError
from ehrbench.core.places import argument

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from ehrbench.publishers.told_labels import ToldRecord

FACTS = "feedback.json"


def add_from_feedback(verbs: Any) -> None:
    """The parser of ``ehrbench data from-feedback``."""
    taught = verbs.add_parser("from-feedback", help="told outcomes of a server, as a set to train on")
    taught.add_argument("--store", required=True, metavar="FILE|URL", help="of ehrbench serve --store")
    taught.add_argument(
        "--bundle", required=True, type=argument, metavar="DIR", help="that was served; says what a record is"
    )
    taught.add_argument("--output", required=True, type=argument, metavar="DIR", help="a new folder")
    taught.set_defaults(run_command=_from_feedback)


def _from_feedback(options: argparse.Namespace) -> None:
    from sqlalchemy.exc import SQLAlchemyError

    from ehrbench.app.command.serving_options import store_database
    from ehrbench.core.errors import StorageError
    from ehrbench.core.task import RawInput
    from ehrbench.publishers.told_labels import labelled_files
    from ehrbench.runtime import Bundle

    output: Path = options.output
    if output.exists():
        raise ConfigError("--output", f"{output} exists", "name a new folder: a set is never changed")
    bundle = Bundle.load(options.bundle)
    try:
        with store_database(options.store).engine.connect() as connection:
            told, left_out, versions = _told(connection, bundle.task.name, bundle.manifest.target.classes)
    except SQLAlchemyError as error:
        problem = type(getattr(error, "orig", None) or error).__name__
        remedy = "name the store of a server that keeps predictions"
        raise StorageError(f"--store: {options.store} cannot be read ({problem}) — {remedy}") from error
    if not told:
        why = ", ".join(f"{reason}: {n:,}" for reason, n in left_out.items()) or "nobody has told any"
        raise DataError(
            f"no outcome to train on ({why})", file=options.store, remedy="serve with --keep-inputs"
        )
    files = labelled_files(bundle.task, told)
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        (output / name).write_bytes(content)
    parsed = bundle.task.parse([RawInput(one.raw.name, one.raw.body) for one in told], strict=True).records
    version = digest.hexdigest()
    facts = {
        "version": version,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "task": bundle.task.name,
        "n_records": len(told),
        "positive": dict(Counter(n for one in told for n, yes in one.labels.items() if yes)),
        "predicted_by": versions,
        "bundle": bundle.digest,
        "of_its_training_groups": int(bundle.seen(parsed).sum()),
        "left_out": left_out,
    }
    (output / FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    print(f"{output}: {len(told):,} records, version {version[:12]}")
    for reason, n in left_out.items():
        print(f"  left out, {reason}: {n:,}")


def _told(
    connection: Connection, task: str, classes: tuple[str, ...]
) -> tuple[list[ToldRecord], dict[str, int], list[str]]:
    """Records with an outcome, oldest first; how many were left out, and why; versions that predicted."""
    from sqlalchemy import select

    from ehrbench.publishers.told_labels import ToldRecord, raw_input
    from ehrbench.serve.store import inputs, outcomes, predictions

    labels = {
        (one.prediction, one.unit): one.labels
        for one in connection.execute(select(outcomes).order_by(outcomes.c.number))
    }
    rows = connection.execute(
        select(predictions, inputs.c.name, inputs.c.kind, inputs.c.body)
        .outerjoin(inputs, predictions.c.input == inputs.c.id)
        .where(predictions.c.id.in_({prediction for prediction, _ in labels}))
        .order_by(predictions.c.made_at, predictions.c.id)
    ).all()
    found: dict[str, ToldRecord] = {}
    left_out, versions = Counter[str](), set[str]()
    for row in rows:
        units = json.loads(row.units)
        if row.task != task or json.loads(row.target)["classes"] != list(classes):
            left_out["of another task or other classes"] += 1
        elif row.body is None:
            left_out["input not kept"] += 1
        elif len(units) != 1:
            left_out["of several units"] += 1
        else:
            marks = [None if one is None else bool(one) for one in json.loads(labels[row.id, units[0]])]
            if found.pop(row.record, None):
                left_out["predicted again later"] += 1
            raw = raw_input(row.name, row.kind, row.body)
            told = dict(zip(classes, marks, strict=True))
            found[row.record] = ToldRecord(row.record, raw, row.place, told)
            versions.add(row.version)
    return list(found.values()), dict(left_out), sorted(versions)
