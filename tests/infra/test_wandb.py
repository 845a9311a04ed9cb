"""Weights & Biases as a copy of the ledger: what stands in the files that ``wandb sync`` sends."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ehrbench.infra.tracking import Tracking
from ehrbench.infra.wandb_tracker import WandbTracker

from .tracked import CHOSEN, KEYS, N_EPOCHS, N_FOLDS, N_TRIALS, NAME, leave, open_search, spend

pytest.importorskip("wandb", reason="the extra `wandb` is not installed")


def records(content: bytes) -> Iterator[bytes]:
    """Of a file in LevelDB's log format, after seven bytes of W&B's: parts in blocks of 32 KiB."""
    block, header = 1 << 15, struct.Struct("<IHB")  # checksum, length, whole = 1, first, middle, last = 4
    at, record = header.size, b""
    while at + header.size <= len(content):
        if block - at % block < header.size:
            at += block - at % block
            continue
        _, length, kind = header.unpack_from(content, at)
        at += header.size
        record += content[at : at + length]
        at += length
        if kind in (1, 4):
            yield record
            record = b""


def shown(folder: Path) -> dict[str, dict[str, Any]]:
    """Run's name -> config, history, summary and artifacts of its file."""
    from wandb.proto.wandb_internal_pb2 import Record

    found: dict[str, dict[str, Any]] = {}
    for path in (folder / "wandb").glob("offline-run-*/run-*.wandb"):
        run: dict[str, Any] = {"history": [], "summary": {}, "artifacts": []}
        for data in records(path.read_bytes()):
            record = Record.FromString(data)
            kind = record.WhichOneof("record_type")
            if kind == "run":
                config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
                run |= {"name": record.run.display_name, "id": record.run.run_id, "config": config}
                run |= {"group": record.run.run_group, "tags": list(record.run.tags)}
            elif kind == "history":
                items = {"/".join(i.nested_key) or i.key: i.value_json for i in record.history.item}
                run["history"].append({name: json.loads(value) for name, value in items.items()})
            elif kind == "summary":
                items = {"/".join(i.nested_key) or i.key: i.value_json for i in record.summary.update}
                run["summary"] |= {name: json.loads(value) for name, value in items.items()}
            elif kind == "artifact":
                run["artifacts"].append([entry.path for entry in record.artifact.manifest.contents])
            elif kind == "exit":
                run["exit"] = record.exit.exit_code
        assert run["name"] not in found
        found[run["name"]] = run
    return found


def check_search(folder: Path) -> None:
    runs = shown(folder)
    assert len(runs) == len({run["id"] for run in runs.values()}) == 1 + len(KEYS) * N_TRIALS
    assert {run["group"] for run in runs.values()} == {NAME}
    whole = runs[NAME]
    assert whole["summary"]["auroc"] == 0.75
    assert whole["config"]["budget"] == f"mlp {N_TRIALS}"
    assert whole["config"]["units"] == 16
    assert whole["artifacts"]
    for number in range(N_TRIALS):
        run = runs[f"mlp fold 0 trial {number}"]
        assert run["config"]["lr"] == str(0.1 * number)
        assert run["exit"] == (1 if number == 1 else 0)
        assert run["summary"].get("inner_auroc") == (None if number == 1 else 0.5 + number / 10)
        assert run["tags"] == (["chosen"] if number == CHOSEN else [])
        steps = [row["_step"] for row in run["history"]]
        assert steps == (list(range(N_EPOCHS)) if number == CHOSEN else [])
        for fold in range(N_FOLDS if steps else 0):
            course = [row[f"valid_loss.fold{fold}"] for row in run["history"]]
            assert course == [1 / (1 + epoch) for epoch in range(N_EPOCHS)]


def test_a_search_that_is_stopped_and_goes_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    search = open_search(tmp_path)
    spend(search, 2)
    WandbTracker(tmp_path, "p").catch_up(search)
    assert len(shown(tmp_path)) == len(KEYS) * 2
    (listed,) = (tmp_path / "wandb").glob("ehrbench-*.txt")
    lines = listed.read_text().splitlines()
    listed.write_text("\n".join(lines[:-1]))  # a process died before it had noted the last run
    spend(search, 2)
    tracking = Tracking(WandbTracker(tmp_path, "p"), search)
    assert tracking.close(leave(tmp_path), 300)
    check_search(tmp_path)
    assert capfd.readouterr().out == ""


def test_nothing_is_written_again(tmp_path: Path) -> None:
    search = open_search(tmp_path)
    spend(search)
    found = search.finished(leave(tmp_path))
    WandbTracker(tmp_path, "p").catch_up(found)
    before = sorted((tmp_path / "wandb").iterdir())
    WandbTracker(tmp_path, "p").catch_up(found)
    assert sorted((tmp_path / "wandb").iterdir()) == before
