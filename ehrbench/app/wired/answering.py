"""Answering: how long a model takes for one record where its bundle is served, on one thread of this CPU."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ehrbench.core.bundle import MEMBERS
from ehrbench.core.model import Model
from ehrbench.core.records import Records
from ehrbench.runtime.member import load_member

#: Records asked about one by one, each so many times; the least of a record's times counts.
RECORDS, TIMES = 20, 3


def answer_ms(model: Model, records: Records, n_models: int) -> float:
    """Median over records of the milliseconds of CPU that ``n_models`` like this one take for one.

    CPU time of the one thread that answers is the time of the clock on an idle machine, whatever else runs
    now. What models of one featurizer share (a record's unfitted rows) counts once.
    """
    some = np.unique(np.linspace(0, len(records) - 1, RECORDS).astype(np.int64))
    with TemporaryDirectory(prefix="ehrbench-") as scratch:
        folder = Path(scratch) / MEMBERS / "0"
        folder.mkdir(parents=True)
        member = model.export(folder)
        (folder / "member.json").write_text(json.dumps(asdict(member)), encoding="utf-8")
        loaded = load_member(Path(scratch), f"{MEMBERS}/0", model.target, 1, "cpu")
        loaded.predict(records.take(some[:1]).without_labels())  # libraries choose their ways
        took = []
        for n in some:
            times = []
            for _ in range(TIMES):
                one = records.take(np.array([n])).without_labels().cached()
                began = time.thread_time()
                loaded.predict(one)
                first = time.thread_time()
                loaded.predict(one)
                times.append(first - began + (n_models - 1) * (time.thread_time() - first))
            took.append(min(times))
    return 1e3 * float(np.median(took))
