"""The tiny task with fourteen findings, some of them too rare for any fold to judge."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ehrbench.core.progress import SILENT, Progress
from ehrbench.core.target import Target
from ehrbench.core.task import Cohort
from tests.spine import tiny
from tests.spine.composing import tiny_config
from tests.spine.tiny import Tiny, TinyPublisher

COMMON = tuple(f"common{i}" for i in range(8))
#: Finding -> records that have it (below 0: that do not); of the last few have a label, and nobody has it.
FEW = {"three": 3, "thrice": 3, "pair": 2, "single": 1, "nearly_all": -3, "looked_for": 0}
FINDINGS = (*COMMON, *FEW)


class Rare(Tiny):
    name = "rare"
    metric, metrics = "auroc", ("auroc", "auprc", "f1", "log_loss", "brier")

    def __init__(self) -> None:
        super().__init__("multilabel")
        self.target = Target("multilabel", FINDINGS)


class RarePublisher(TinyPublisher):
    """Labels of the common findings follow the numbers; the others stand wherever they fall."""

    def read(self, root: Path, sets: Sequence[str], progress: Progress = SILENT) -> Cohort:
        cohort = TinyPublisher(Tiny("multilabel"), self.units).read(root, sets, progress)
        rng = np.random.default_rng(3)
        values = np.concatenate(cohort.records.payload.rows)  # type: ignore[attr-defined]
        scores = values @ rng.normal(size=(3, len(COMMON))) * 1.5 + rng.logistic(
            size=(len(values), len(COMMON))
        )
        y = np.zeros((len(values), len(FINDINGS)))
        y[:, : len(COMMON)] = scores > np.linspace(0, 3.0, len(COMMON))
        y[rng.random(len(y)) < 0.2, 0] = np.nan  # and one is not always known
        owner = cohort.records.unit_record
        for c, n in enumerate(FEW.values(), len(COMMON)):
            chosen = np.isin(owner, rng.choice(len(cohort.records), abs(n) or 60, replace=False))
            y[:, c] = chosen if n > 0 else ~chosen if n else np.where(chosen, 0, np.nan)
        return replace(cohort, records=replace(cohort.records, target=y))


def rare_config(runs_dir: Path, *overrides: str, units: int = 1) -> dict[str, Any]:
    """A small nested search of it."""
    config = tiny_config("findings", runs_dir, *overrides)
    for package, made in (("tasks", Rare), ("publishers", RarePublisher)):
        made.__module__ = f"ehrbench.{package}.tiny"
        setattr(sys.modules[made.__module__], made.__name__, made)
    task = {**tiny.TASKS["findings"], "name": "rare", "build": {"_target_": "ehrbench.tasks.tiny.Rare"}}
    task["publisher"] = {"_target_": "ehrbench.publishers.tiny.RarePublisher", "units": units}
    return {**config, "task": task}
