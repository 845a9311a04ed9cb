"""Folds trained together: what a trial of five folds, and twenty such trials, cost against other ways.

``python -m benchmarks.folds_together [overrides]``, with overrides as search.py takes them
(``models=[lstm]``). Each network with its own settings on the inner folds of the first outer fold,
``EPOCHS`` epochs each, four ways in one process, each after a fit that warms the device up:

together       all five folds as one batched network
alone          one fold after another by the same networks, as ``trainer.together=false`` trains them
loader         one after another as most people write it: a DataLoader of tensors, a loop, AdamW, clipping
twenty         twenty trials of other learning rates, a hundred fits as one, against twenty times ``alone``

Times are seconds of wall (of CPU, where there is no GPU) a trial, featurizing left out; ratios are what
counts. ``steps/s`` is of members' steps. ``floor`` is the least that a step can take: the bytes of weights,
moments, averages and inputs, and the products of the forward and backward passes of matrices, at this card's
rates as measured by one copy and one product.
"""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.devices import composed
from ehrbench.app.composed.checking import check
from ehrbench.app.composed.entry import guarded
from ehrbench.app.wired.splitting import read_and_split
from ehrbench.app.wired.wiring import plan, settled
from ehrbench.core.model import PlannedFit, silent
from ehrbench.core.progress import SILENT
from ehrbench.core.records import Records
from ehrbench.models.course import FitCourse
from ehrbench.models.fitting import session
from ehrbench.models.network import NetworkModel
from ehrbench.models.together import Together
from ehrbench.models.trainee import Trainee

DEFAULTS = ("models=[ssm,lstm,dssm,mlp]", "protocol=nested", "tracker=none")
EPOCHS = 6
Folds = Sequence[tuple[Records, Records]]


def seconds(work: Callable[..., object], *given: object) -> float:
    """Of wall, all kernels awaited; of CPU where there is no GPU, whatever else the machine does."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    _wait()
    began = clock()
    work(*given)
    _wait()
    return clock() - began


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def trainees(
    build: Callable[[dict[str, Any]], NetworkModel], folds: Folds, rates: Sequence[float]
) -> list[Trainee]:
    """A network for each fold and learning rate; folds are featurized once."""
    found = []
    for seed, (train, valid) in enumerate(folds):
        model = build({"max_epochs": EPOCHS, "patience": EPOCHS})
        with session(model, seed):
            (first,) = model.trainees(PlannedFit(model, train, valid, seed))
        for rate in rates:
            settings = copy.copy(model)
            settings.learning_rate = rate
            course = FitCourse(EPOCHS, EPOCHS, silent, has_valid=True)
            batches, net = first.batches.shuffled_by(seed), copy.deepcopy(first.net)
            found.append(replace(first, settings=settings, course=course, batches=batches, net=net))
    return found


def together(model: NetworkModel, members: Sequence[Trainee]) -> None:
    with session(model, 0):
        stack = Together(members)
        while stack.members:
            stack.epoch()


def alone(model: NetworkModel, members: Sequence[Trainee]) -> None:
    for member in members:
        with session(model, 0):
            member.train()


def by_loader(model: NetworkModel, members: Sequence[Trainee]) -> None:
    """Shuffled by a DataLoader from the CPU's memory; validated after each epoch."""
    for member in members:
        assert member.batches.inputs is not None
        assert member.checks is not None
        assert member.checks.inputs is not None
        device, net = next(member.net.parameters()).device, member.net
        train = TensorDataset(*(x.cpu() for x in member.batches.inputs), member.batches.y.cpu())
        valid = TensorDataset(*(x.cpu() for x in member.checks.inputs), member.checks.y.cpu())
        optimiser, loss = torch.optim.AdamW(net.parameters(), lr=1e-3), member.loss.to(device)
        for _ in range(EPOCHS):
            net.train()
            for batch in DataLoader(train, batch_size=member.batches.items, shuffle=True):
                *inputs, y = (x.to(device) for x in batch)
                optimiser.zero_grad()
                value = loss(net.score(*inputs), y)
                value.backward()
                torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                optimiser.step()
                value.item()
            net.eval()
            with torch.no_grad():
                for batch in DataLoader(valid, batch_size=member.batches.items):
                    *inputs, y = (x.to(device) for x in batch)
                    net.score(*inputs)


def floor_s(members: Sequence[Trainee]) -> float:
    """Seconds of a step of all members at the device's rates."""
    net, items = members[0].net, members[0].batches.items
    assert members[0].batches.inputs is not None
    n = sum(p.numel() for p in net.parameters())
    steps = next((x.shape[1] for x in members[0].batches.inputs if x.dim() == 3), 1)
    inputs = sum(x[:1].numel() for x in members[0].batches.inputs) * items
    moved = (
        len(members) * 4 * (9 * n + 2 * inputs)
    )  # weights, gradient, moments and average: read, and written
    products = len(members) * 6 * n * items * steps  # forward, and twice that backward
    device = next(net.parameters()).device
    a, b = torch.randn(2, 4096, 4096, device=device)
    copied, multiplied = (
        min(seconds(work) for _ in range(5)) for work in (lambda: b.copy_(a), lambda: a @ b)
    )
    return max(moved * copied / (2 * 4 * a.numel()), products * multiplied / (2 * 4096**3))


def measure(config: Mapping[str, Any]) -> None:
    settings, publisher = settled(check(config), SILENT)
    planned = plan(settings)
    cohort, split = read_and_split(publisher, settings, SILENT)
    inner = split.outer[0].inner
    folds = [(cohort.records.take(fold.train), cohort.records.take(fold.valid)) for fold in inner]
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU, one thread"
    print(f"{where}, torch {torch.__version__}; {len(folds)} folds of {len(folds[0][0])}, {EPOCHS} epochs")
    row = "{:6} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}"
    print(
        row.format(
            "", "together", "alone", "loader", "alone/t", "loader/t", "twenty ×", "steps/s", "of floor"
        )
    )
    rates = np.geomspace(5e-4, 5e-3, 20).tolist()
    for name, contender in planned.contenders.items():

        def build(params: dict[str, Any], builder: Any = contender.builder) -> NetworkModel:
            model = builder(params)
            assert isinstance(model, NetworkModel)
            return model

        model = build({})
        for way in (together, alone):
            way(model, trainees(build, folds[:1], rates[:1]))
        ways = (together, alone, by_loader)
        one = [seconds(way, model, trainees(build, folds, rates[9:10])) for way in ways]
        members = trainees(build, folds, rates if model.on_gpu else rates[:1])
        n_steps = EPOCHS * sum(len(m.batches) for m in members) / len(members)
        twenty = seconds(together, model, members) if model.on_gpu else float("nan")
        steps = n_steps * (len(members) / twenty if model.on_gpu else len(folds) / one[0])
        floor = floor_s(members[: len(folds)]) / (one[0] / n_steps)
        print(
            row.format(
                name, *(f"{s:.2f}" for s in one), f"{one[1] / one[0]:.1f}", f"{one[2] / one[0]:.1f}",
                f"{len(rates) * one[1] / twenty:.1f}", f"{steps:.0f}", f"{floor:.1%}",
            ),
            flush=True,
        )  # fmt: skip


if __name__ == "__main__":
    with composed([*DEFAULTS, *sys.argv[1:]]) as composition:
        guarded(measure, composition)
