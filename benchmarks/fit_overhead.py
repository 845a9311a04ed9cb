"""What a fit costs beside its steps: the training loop against a bare one of forward, backward and AdamW.

``python -m benchmarks.fit_overhead [overrides]``, as ``benchmarks.folds_together``. The first inner fold, one
CPU thread, pairs in one process, CPU seconds; the loop's clipping, averaging, schedule, validation and early
stop stand against nothing, and once without validation. Figures are medians of ratios.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from benchmarks.devices import composed
from benchmarks.folds_together import EPOCHS, trainees
from ehrbench.app.composed.checking import check
from ehrbench.app.composed.entry import guarded
from ehrbench.app.wired.splitting import read_and_split
from ehrbench.app.wired.wiring import plan, settled
from ehrbench.core.progress import SILENT
from ehrbench.models.fitting import session
from ehrbench.models.trainee import Trainee
from ehrbench.models.training import Training

DEFAULTS = ("models=[ssm,lstm]", "protocol=nested", "tracker=none", "trainer.accelerator=cpu")
PAIRS = 7


def loop(trainee: Trainee) -> None:
    trainee.train()


def bare(trainee: Trainee) -> None:
    net, loss = trainee.net.train(), trainee.loss
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3)
    for _ in range(EPOCHS):
        for batch in trainee.batches:
            optimiser.zero_grad()
            loss(batch.scores(net), batch.y).backward()
            optimiser.step()


def validated(trainee: Trainee) -> None:
    training = Training(trainee.net, trainee.loss, trainee.settings, len(trainee.batches))
    assert trainee.checks is not None
    for _ in range(EPOCHS):
        training._validated(trainee.checks)


def measure(config: Mapping[str, Any]) -> None:
    settings, publisher = settled(check(config), SILENT)
    planned = plan(settings)
    cohort, split = read_and_split(publisher, settings, SILENT)
    inner = split.outer[0].inner[0]
    fold = (cohort.records.take(inner.train), cohort.records.take(inner.valid))
    print(f"torch {torch.__version__}, one thread, {len(fold[0])} records, {EPOCHS} epochs")
    for name, contender in planned.contenders.items():
        model: Any = contender.builder({})

        def seconds(
            work: Callable[[Trainee], None], build: Any = contender.builder, at: Any = model
        ) -> float:
            (trainee,) = trainees(build, [fold], [1e-3])
            with session(at, 0):
                began = time.process_time()
                work(trainee)
                return time.process_time() - began

        took = np.array([[seconds(work) for work in (loop, bare, validated)] for _ in range(PAIRS + 1)])[1:]
        whole, without = took[:, 0] / took[:, 1], (took[:, 0] - took[:, 2]) / took[:, 1]
        said = f"{np.median(whole):.2f} of a bare one, {np.median(without):.2f} without validation"
        print(f"{name:6} {np.median(took[:, 0]):.2f} s of CPU: {said}", flush=True)


if __name__ == "__main__":
    with composed([*DEFAULTS, *sys.argv[1:]]) as composition:
        guarded(measure, composition)
