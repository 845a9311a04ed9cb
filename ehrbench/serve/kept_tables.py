"""Tables that a server keeps predictions in (``store``); times are UTC."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Column, DateTime, Integer, LargeBinary, MetaData, String, Table, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

from ehrbench.tasks.names import LONGEST

metadata = MetaData()


def _name(length: int = LONGEST) -> TypeEngine[str]:
    """Compared byte by byte: patients a1 and A1 are two."""
    whole = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    return String(length).with_variant(whole, "mysql", "mariadb")


def _text() -> TypeEngine[str]:
    return Text().with_variant(mysql.LONGTEXT(charset="utf8mb4"), "mysql", "mariadb")


inputs = Table(
    "served_inputs",
    metadata,
    Column("id", _name(), primary_key=True),
    Column("made_at", DateTime, nullable=False, index=True),
    Column("name", _text(), nullable=False),  # of the posted file
    Column("kind", _name(), nullable=False),  # json, or file
    Column("body", LargeBinary().with_variant(mysql.LONGBLOB, "mysql", "mariadb"), nullable=False),
)
predictions = Table(
    "served_predictions",
    metadata,
    Column("id", _name(), primary_key=True),
    Column("made_at", DateTime, nullable=False, index=True),
    Column("request_id", _name(), nullable=False),
    Column("alias", _name(), nullable=False),
    Column("version", _name(), nullable=False),
    Column("task", _name(), nullable=False),
    Column("target", _text(), nullable=False),  # {"kind": ..., "classes": [...]}
    Column("record", _name(), nullable=False, index=True),
    Column("patient", _name(), nullable=False, index=True),
    Column("units", _text(), nullable=False),  # numbers of the units, in order
    Column("probabilities", _text(), nullable=False),  # a row a unit, a column a class
    Column("called", _text(), nullable=False),
    Column("input", _name(), index=True),
    Column("place", Integer, nullable=False),  # among the records of that input
)
described = Table(
    "served_described",
    metadata,
    Column(
        "number", Integer, primary_key=True, autoincrement=True
    ),  # never given twice: looks are told by it
    Column("prediction", _name(), nullable=False, index=True),
    Column("places", LargeBinary().with_variant(mysql.BLOB, "mysql", "mariadb"), nullable=False),  # <i2
    sqlite_autoincrement=True,
)
outcomes = Table(
    "served_outcomes",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("prediction", _name(), nullable=False, index=True),
    Column("unit", Integer, nullable=False),
    Column("told_at", DateTime, nullable=False),
    Column("labels", _text(), nullable=False),  # 0, 1 or null a class
    Column("told_by", _name(), nullable=False),  # name of the key
)
audit = Table(
    "served_audit",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("done_at", DateTime, nullable=False),
    Column("what", _name(), nullable=False),  # retention, deletion
    Column("done_by", _name(), nullable=False),
    Column("request_id", _name(), nullable=False),
    Column("n_predictions", Integer, nullable=False),
    Column("n_inputs", Integer, nullable=False),
    Column("n_outcomes", Integer, nullable=False),
)


def utc_now() -> datetime:
    """Without a zone, as columns hold it."""
    return datetime.now(UTC).replace(tzinfo=None)
