"""Simulating traffic: ``ehrbench simulate-traffic URL``: held-out records as they would come, outcomes later.

Records of the bundle's own training are left out, so that what the monitor says of the rest can be believed.
A drift is made by choice, not by changing anybody: from the middle on, records with a high value of one
column (or without a value) are four times as likely to come, and their outcomes stay true.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ehrbench.app.command.load_testing import Load, RequirementNotMet, connect, post
from ehrbench.core.errors import ConfigError, DataError
from ehrbench.core.places import argument
from ehrbench.core.types import FloatArray, IntArray

#: The key that outcomes are told with, where the server asks for one.
KEY = "EHRBENCH_API_KEY"
PATTERNS = ("poisson", "burst", "batch")
#: Records that come at once in a burst, or in one request of a batch.
AT_ONCE = 20
#: By so much likelier come those whom a drift favours.
FAVOURED = 4.0
MISSING = "missing:"
CLIENTS = 4


def add_simulate_traffic(commands: Any) -> None:
    """The parser of ``ehrbench simulate-traffic``."""
    sent = commands.add_parser("simulate-traffic", help="held-out records to a server, with late outcomes")
    sent.add_argument("url", metavar="URL", help="of a server, such as http://127.0.0.1:8000")
    sent.add_argument("--bundle", required=True, type=argument, metavar="DIR", help="that is served")
    sent.add_argument(
        "--input", required=True, type=argument, metavar="PATH", help="raw files, a folder or archive of them"
    )
    sent.add_argument("--root", type=argument, metavar="DIR", help="the publisher's files, for outcomes")
    sent.add_argument("--sets", nargs="+", metavar="SET", help="sets under --root that have the outcomes")
    sent.add_argument("--pattern", choices=PATTERNS, default="poisson", help="of arrivals (default poisson)")
    sent.add_argument("--rate", type=float, default=10, help="records a second on average (default 10)")
    sent.add_argument("--records", type=int, metavar="N", help="so many (default: all; half with --drift)")
    sent.add_argument(
        "--drift",
        metavar=f"[{MISSING}]COLUMN",
        help="from the middle on, more with a high, or without a, value",
    )
    sent.add_argument(
        "--label-delay", type=float, default=30, metavar="SECONDS", help="mean until an outcome (default 30)"
    )
    sent.add_argument("--label-share", type=float, default=1, help="of records ever told of (default 1)")
    sent.add_argument("--seed", type=int, default=0, help="another one gives another order (default 0)")
    sent.set_defaults(run_command=_simulate_traffic)


@dataclass(frozen=True)
class Sendable:
    """One record as it is posted: file name, bytes, and its outcomes (units, classes), NaN unknown."""

    name: str
    body: bytes
    y: FloatArray


@dataclass
class Traffic:
    """Sends records and tells outcomes when they are due. Threads may share it."""

    url: str
    classes: Sequence[str]
    kind: str
    label_delay_s: float
    label_share: float
    rng: np.random.Generator
    load: Load = field(default_factory=Load)
    told: int = 0
    units: int = 0
    _due: list[tuple[float, str, Any]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _own: threading.local = field(default_factory=threading.local)

    def send(self, records: Sequence[Sendable]) -> None:
        """Post them in one request, and remember when each unit's outcome is due."""
        boundary = secrets.token_hex(16)
        body, began = _form(records, boundary), time.perf_counter()
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        problem, content = post(self._connection(), "/predict", body, headers)
        took_ms = 1000 * (time.perf_counter() - began)
        rows = json.loads(content)["predictions"] if not problem else []
        labels_of = [labels for one in records for labels in one.y]
        with self._lock:
            if problem:
                self.load.errors[problem] += 1
                return
            self.load.milliseconds.append(took_ms)
            self.units += len(rows)
            for row, labels in zip(rows, labels_of, strict=True):
                if not np.isnan(labels).all() and self.rng.random() < self.label_share:
                    due = time.perf_counter() + float(self.rng.exponential(self.label_delay_s))
                    heapq.heappush(self._due, (due, row["id"], self._outcome(labels)))

    def tell(self, at_once: bool = False) -> None:
        """Tell the outcomes that are due; or all of them."""
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(KEY, ""):
            headers["Authorization"] = f"Bearer {key}"
        while True:
            with self._lock:
                if not self._due or (not at_once and self._due[0][0] > time.perf_counter()):
                    return
                _, prediction, outcome = heapq.heappop(self._due)
            body = json.dumps({"prediction": prediction, "outcome": outcome}).encode()
            problem, _ = post(self._connection(), "/feedback", body, headers)
            with self._lock:
                self.told += not problem
                if problem:
                    self.load.errors[f"feedback: {problem}"] += 1

    def _outcome(self, labels: FloatArray) -> Any:
        if self.kind == "multiclass":
            return self.classes[int(np.nanargmax(labels))]
        known = {name: None if np.isnan(v) else bool(v) for name, v in zip(self.classes, labels, strict=True)}
        return known[self.classes[0]] if self.kind == "binary" else known

    def _connection(self) -> Any:
        if not hasattr(self._own, "connection"):
            self._own.connection = connect(self.url)
        return self._own.connection


def order(
    values: FloatArray | None, missing: bool, n: int, n_sent: int, rng: np.random.Generator
) -> IntArray:
    """Which of n records come, one after the other; values: (n,) of the column that drifts, NaN unknown."""
    shuffled = rng.permutation(n)[:n_sent]
    if values is None:
        return shuffled
    early, left = shuffled[: n_sent // 2], np.setdiff1d(np.arange(n), shuffled[: n_sent // 2])
    unknown = np.isnan(values)
    favoured = unknown if missing else ~unknown & (values > np.nanmedian(values))
    # exponential clocks (Efraimidis & Spirakis 2006): a weighted draw without putting back
    clock = rng.exponential(1 / np.where(favoured[left], FAVOURED, 1.0))
    return np.concatenate([early, left[np.argsort(clock)][: n_sent - len(early)]])


def arrivals(pattern: str, rate: float, n: int, rng: np.random.Generator) -> Iterator[tuple[float, int, int]]:
    """(seconds since the start, first, last) of what comes at once; a batch comes in one request."""
    size = 1 if pattern == "poisson" else AT_ONCE
    at_s = 0.0
    for start in range(0, n, size):
        yield at_s, start, min(start + size, n)
        at_s += float(rng.exponential(1 / rate)) if size == 1 else size / rate


def _simulate_traffic(options: argparse.Namespace) -> None:
    from ehrbench.runtime import Bundle

    for name in ("rate", "label_delay"):
        if not getattr(options, name) > 0:
            raise ConfigError(f"--{name.replace('_', '-')}", "is not above 0", "give more than 0")
    rng = np.random.default_rng(options.seed)
    bundle = Bundle.load(options.bundle)
    sendable, column = _prepared(bundle, options)
    n_sent = min(options.records or len(sendable), len(sendable))
    if options.drift and not options.records:
        n_sent = len(sendable) // 2
    missing = (options.drift or "").startswith(MISSING)
    sent = [sendable[k] for k in order(column, missing, len(sendable), n_sent, rng)]
    target = bundle.manifest.target
    asked = options.label_delay, options.label_share
    traffic = Traffic(options.url, target.classes, target.kind, *asked, np.random.default_rng(options.seed))
    began = time.perf_counter()
    sending = []
    with ThreadPoolExecutor(CLIENTS) as clients:
        for at_s, start, stop in arrivals(options.pattern, options.rate, len(sent), rng):
            while (left_s := began + at_s - time.perf_counter()) > 0:
                traffic.tell()
                time.sleep(min(left_s, 0.05))
            together = options.pattern == "batch"
            parts = [sent[start:stop]] if together else [[one] for one in sent[start:stop]]
            sending += [clients.submit(traffic.send, part) for part in parts]
    for one in sending:
        one.result()
    traffic.load.seconds = time.perf_counter() - began
    traffic.tell(at_once=True)
    load = traffic.load
    print(
        f"{len(sent):,} records in {load.seconds:.1f} s, {traffic.units:,} predictions, {traffic.told:,} told"
    )
    print("   ".join(f"p{100 * share:g} {load.quantile(share):.1f} ms" for share in (0.5, 0.95, 0.99)))
    for problem, n in load.errors.most_common():
        print(f"error      {problem}: {n:,}")
    if load.errors:
        raise RequirementNotMet(f"{load.errors.total():,} requests failed — see the server's log")


def _prepared(bundle: Any, options: argparse.Namespace) -> tuple[list[Sendable], FloatArray | None]:
    """Records that the bundle has not seen, with outcomes where known, and the column that drifts."""
    from ehrbench.tasks.raw_files import read_raw_files

    task = bundle.task
    raw = read_raw_files(options.input, task.forms, "name raw files of the bundle's task")
    files = [(one.name.rpartition("/")[2], one.body) for one in raw.inputs if isinstance(one.body, bytes)]
    records = task.parse(raw.inputs, strict=False).records
    if len(records) != len(files):
        files = _rows(files)
    if len(records) != len(files) or not len(records):
        problem = f"holds {len(records):,} records in {len(files):,} files or rows"
        raise DataError(problem, file=options.input, remedy="give files or rows of one record each")
    y = np.full((records.total_units, bundle.manifest.target.n_classes), np.nan)
    starts = np.cumsum(records.n_units) - records.n_units
    for name, labels in _outcomes(bundle, options).items():
        for k in np.flatnonzero(records.ids == name):
            if len(labels) == records.n_units[k]:
                y[starts[k] : starts[k] + len(labels)] = labels
    new = np.flatnonzero(~bundle.seen(records))
    if len(new) < len(records):
        print(f"left out, of the bundle's own training: {len(records) - len(new):,}")
    if not len(new):
        raise DataError("holds no record that the bundle has not seen", file=options.input)
    split = np.split(y, starts[1:])
    sendable = [Sendable(*files[k], split[k]) for k in new]
    if not options.drift:
        return sendable, None
    described = task.describe(records.take(new))
    name = options.drift.removeprefix(MISSING)
    if name not in described.names:
        some = ", ".join(described.names[:8])
        raise ConfigError("--drift", f"there is no column {name!r}", f"name one of {some}, …")
    return sendable, np.asarray(described.values[:, described.names.index(name)], dtype=np.float64)


def _outcomes(bundle: Any, options: argparse.Namespace) -> dict[str, FloatArray]:
    """Record to its labels (units, classes), by the publisher of the bundle's task."""
    if options.root is None:
        return {}
    from ehrbench.app.composed.blocks import GateData
    from ehrbench.app.runs.scoring import publisher_of

    data = GateData(gate_sets=[], root=str(options.root), file=None, labels=None, descriptors=None)
    publisher = publisher_of(bundle, data)
    records = publisher.cohort(options.root, options.sets or publisher.default_sets()).records
    parts = np.split(records.labels, np.cumsum(records.n_units)[:-1])
    return dict(zip(records.ids.tolist(), parts, strict=True))


def _rows(files: Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Each row of text tables as a table of its own."""
    made = []
    for name, body in files:
        head, *rows = body.decode("utf-8-sig").splitlines(keepends=True) or [""]
        made += [(name, (head + row).encode()) for row in rows if row.strip()]
    return made


def _form(records: Sequence[Sendable], boundary: str) -> bytes:
    parts = []
    for one in records:
        name = Path(one.name).name.replace('"', "_")
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        parts += [head.encode(), b"Content-Type: application/octet-stream\r\n\r\n", one.body, b"\r\n"]
    return b"".join([*parts, f"--{boundary}--\r\n".encode()])
