"""Figures that are shown to people are those recorded under experiments/results."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


#: Runs whose tables have other columns.
OTHER_METRICS = ("transcriptions-", "rr-rhythm-")


def test_figures_shown_are_those_recorded() -> None:
    """Of the README and of the tables beside the recorded runs: AUROC, AUPRC, and what stands after them."""
    results = ROOT / "experiments" / "results"
    recorded = {path.parent.name: json.loads(path.read_text()) for path in results.glob("*/summary.json")}
    of_protocol = {"hold-out a → b": "mortality-a-b", "nested 5x5, a + b": "mortality-nested"}
    of_protocol["nested 5x2, grouped"] = "diabetes-lightgbm"
    of_protocol["nested 5x2, by patient"] = "xray-kermany"
    shown: list[tuple[str, str, dict[str, str]]] = []  # run, model, column -> cell
    for line in (ROOT / "README.md").read_text().split("<!-- ")[1].splitlines():
        if len(cells := _cells(line)) == 5 and re.match(r"\d", cells[3]):
            run = of_protocol[cells[1]] if cells[1] else shown[-1][0]
            shown.append((run, cells[2], dict(zip(("AUROC", "AUPRC"), cells[3:], strict=True))))
    run, head = "", [""]
    for line in (results / "README.md").read_text().splitlines():
        run = line.removeprefix("## ") if line.startswith("## ") else run
        cells = _cells(line)
        head = cells if cells and cells[0].startswith(("model", "reading")) else head
        if (
            head[-1] == "AUROC, inner"
            and run in recorded
            and cells[:1]
            and cells[0] in recorded[run]["models"]
        ):
            shown.append((run, cells[0], dict(zip(head[1:], cells[1:], strict=True))))
    assert {run for run, _, _ in shown} == {run for run in recorded if not run.startswith(OTHER_METRICS)}
    assert len(shown) >= 26
    for run, model, cells in shown:
        found, inner = recorded[run]["models"][model], recorded[run]["selected"].get(model, {}).get("inner")
        expected = {"AUROC, inner": "" if inner is None else f"{inner:.4f}"}
        for name in ("auroc", "auprc"):
            end = found[name]["interval"]
            expected[name.upper()] = f"{found[name]['mean']:.4f} ({end['low']:.4f}–{end['high']:.4f})"
        for column, name, digits in (
            ("Event 1", "event1", 4),
            ("Event 2", "event2", 2),
            ("Brier", "brier", 4),
        ):
            if column in cells:
                expected[column] = f"{found[name]['mean']:.{digits}f}"
        assert cells.items() <= expected.items(), f"{run}: {model}"


def test_figures_shown_of_notes_and_beats_are_those_recorded() -> None:
    """By the table's head, to three digits, with the interval: a task of many classes has other metrics."""
    names = {
        "MAP": "mean_average_precision",
        "precision@1": "precision_at_1",
        "precision@3": "precision_at_3",
    }
    names |= {"micro F1": "micro_f1", "macro F1": "macro_f1", "F1": "f1", "event F1": "event_f1"}
    names |= {"run-end error": "run_end_error", "AUROC": "auroc", "AUPRC": "auprc"}
    results = ROOT / "experiments" / "results"
    seen, run, head = set(), "", [""]
    for line in (results / "README.md").read_text().splitlines():
        run = line.removeprefix("## ") if line.startswith("## ") else run
        if not run.startswith(OTHER_METRICS) or len(cells := _cells(line)) != 6:
            continue
        head = cells if cells[0].startswith("reading") else head
        recorded = json.loads((results / run / "summary.json").read_text())["models"]
        if cells[0] in recorded:
            values = [recorded[cells[0]][names[column]] for column in head[1:]]
            ends = [(v["mean"], v["interval"]["low"], v["interval"]["high"]) for v in values]
            assert cells[1:] == [f"{mean:.3f} ({low:.3f}–{high:.3f})" for mean, low, high in ends]
            seen.add((run, cells[0]))
    assert len(seen) == 8


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
