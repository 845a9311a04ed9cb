"""Together: networks of one shape trained as one, each as it would be alone, up to rounding.

A small network's step is some hundreds of tiny kernels that Python launches one by one, so that a GPU waits
for Python. Here the weights of all members (inner folds of a trial, seeds of a fit) lie in one array (M, P)
with a leading axis that ``torch.func.vmap`` carries through network and loss, so that M steps are launched as
one; AdamW, clipping and averaging are a few operations on whole rows; and on a GPU the step is captured as a
CUDA graph and launched at once. Members share nothing: a row's gradient is its own, a batch that is shorter
is padded with items whose labels are unknown, a member without a batch rests, and one that has ended is taken
out.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from ehrbench.core.errors import FitError
from ehrbench.core.views import offsets
from ehrbench.models.batches import PASS_ITEMS, Batches
from ehrbench.models.masks import DrawnMasks, Given, HashedMasks, Recorded, Site
from ehrbench.models.trainee import Trainee
from ehrbench.models.training import newest_share, plain
from ehrbench.nets.network import Network
from ehrbench.nets.recurrence import stepwise

logger = logging.getLogger(__name__)

#: AdamW's, as torch has them.
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
#: Steps before a graph is captured, in which libraries choose their kernels and take their memory.
WARM_UP = 3


class _Scores(nn.Module):
    """What a network makes of prepared inputs, as a module's call."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.net.score(*inputs)


class _Loss(nn.Module):
    """A network and its loss as one module, so that one call replaces the weights of both."""

    def __init__(self, net: Network, loss: nn.Module) -> None:
        super().__init__()
        self.net, self.loss = net, loss

    def forward(self, y: Tensor, *inputs: Tensor) -> Tensor:
        loss: Tensor = self.loss(self.net.score(*inputs), y)
        return loss


class _Rows:
    """Items of all members under each other on the device, and one item more, whose labels are unknown."""

    def __init__(self, batches: Sequence[Batches]) -> None:
        owners = list({id(b.y): b for b in batches}.values())  # seeds of a fit share theirs
        starts = offsets(np.array([len(b.y) for b in owners]))
        first = {id(b.y): int(start) for b, start in zip(owners, starts, strict=False)}
        self.starts = [first[id(b.y)] for b in batches]
        columns = list(zip(*(b.inputs or () for b in owners), strict=True))
        self.inputs = [torch.cat([*column, column[0][:1]]) for column in columns]
        y = torch.cat([b.y for b in owners])
        self.y = torch.cat([y, torch.full_like(y[:1], torch.nan)])

    def index(self, n_members: int, items: int) -> Tensor:
        """(M, items) of the item that counts nothing, on the CPU."""
        return torch.full((n_members, items), len(self.y) - 1)


class Together:
    """``epoch`` after epoch until ``members`` is empty."""

    def __init__(self, members: Sequence[Trainee]) -> None:
        self.members = list(members)
        first = self.members[0]
        self.half, self.items = first.half, first.batches.items
        self.module, self.scores = _Loss(first.net, first.loss), _Scores(first.net)
        self.names = [f"net.{name}" for name, _ in first.net.named_parameters()]
        self.sizes = [p.numel() for p in first.net.parameters()]
        self.shapes = [p.shape for p in first.net.parameters()]
        self.flat = torch.stack([nn.utils.parameters_to_vector(m.net.parameters()).detach() for m in members])
        self.device = self.flat.device
        self.captures, self.graph = self.device.type != "cpu", None
        self.moments = [torch.zeros_like(self.flat) for _ in range(2)]
        self.average = self.flat.clone()
        decayed = [torch.full((n,), float(len(s) > 1)) for n, s in zip(self.sizes, self.shapes, strict=True)]
        self.decayed = torch.cat(decayed).to(self.flat)  # (P,)
        buffers = [{f"loss.{k}": v for k, v in m.loss.named_buffers()} for m in members]
        self.buffers = {k: torch.stack([one[k] for one in buffers]).to(self.device) for k in buffers[0]}
        self.log_loss = plain(first.loss).to(self.device)
        self.rows = _Rows([m.batches for m in members])
        checks = [m.checks for m in members if m.checks is not None]
        self.checks = _Rows(checks) if checks else None
        self.taken = [0] * len(members)
        self.known_sites: dict[int, list[Site]] = {}
        of = (self._sites, [m.random for m in members], self.items, self.flat)
        self.masks = (
            DrawnMasks(*of)
            if self.device.type == "cpu"
            else HashedMasks(self._sites, [m.seed for m in members], self.items, self.flat)
        )
        self._lay_out()

    def epoch(self) -> list[Trainee]:
        """Train and validate all by an epoch; those that have ended, with their state or their fault."""
        values = [{"train_loss": loss} for loss in self._passed()]
        if self.checks is not None:
            for value, loss in zip(values, self._validated(self.checks), strict=True):
                value["valid_loss"] = loss
        ended: list[Trainee] = []
        for at, member in enumerate(self.members):
            try:
                if member.course.passed(values[at]):
                    member.state = self._state(at)
                if member.course.ended:
                    ended.append(member)
            except FitError as error:
                member.fault = error
                ended.append(member)
        self._keep([at for at, member in enumerate(self.members) if member not in ended])
        return ended

    # --- one pass ----------------------------------------------------------------------------------------

    def _passed(self) -> list[float]:
        """Mean training losses of a pass."""
        orders = [member.batches.order() for member in self.members]
        n_steps = max(map(len, orders))
        index = torch.stack([self.rows.index(len(orders), self.items) for _ in range(n_steps)])  # (S, M, B)
        for at, (order, start) in enumerate(zip(orders, self.rows.starts, strict=True)):
            for step, items in enumerate(order):
                index[step, at, : len(items)] = items + start
        index = index.to(self.device)
        self.module.train()
        self.total.zero_()
        for step in range(n_steps):
            rows = [len(order[step]) if step < len(order) else 0 for order in orders]
            self.index.copy_(index[step])
            self.numbers.copy_(torch.tensor(self._numbers(rows), dtype=self.flat.dtype)[:, :, None])
            self.masks.prepare(self.taken, rows)
            self._advance()
            self.taken = [n + (row > 0) for n, row in zip(self.taken, rows, strict=True)]
        return [
            float(total) / sum(map(len, order))
            for total, order in zip(self.total.cpu().tolist(), orders, strict=True)
        ]

    def _numbers(self, rows: Sequence[int]) -> list[list[float]]:
        """What of a step is each member's own, (8, M); nothing moves a member that rests."""
        columns = []
        for member, n, taken in zip(self.members, rows, self.taken, strict=True):
            settings, active = member.settings, float(n > 0)
            rate = active * settings.learning_rate * settings.rate_at(taken, len(member.batches))
            share = newest_share(settings.ema_decay, taken) if settings.ema_decay else 1.0
            columns.append(
                [
                    float(n),
                    settings.gradient_clip,
                    rate * settings.weight_decay,
                    active * (1 - BETA1),
                    active * (1 - BETA2),
                    rate / (1 - BETA1 ** (taken + 1)),
                    (1 - BETA2 ** (taken + 1)) ** -0.5,
                    active * share,
                ]
            )
        return [list(row) for row in zip(*columns, strict=True)]

    def _advance(self) -> None:
        if self.graph is None and self.captures:
            self._warm_up()
            try:
                self.graph = self._captured()
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:  # of the capture alone: a step that is wrong has failed before
                logger.warning("a step cannot be a CUDA graph, and takes longer (%s)", error)
                self.captures = False
        if self.graph is None:
            self._step()
        else:
            self.graph.replay()

    def _warm_up(self) -> None:
        """Some steps beside the others, after which everything is as it was before."""
        moved = [self.flat, *self.moments, self.average, self.total]
        before = [tensor.clone() for tensor in moved]
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self._step()
        torch.cuda.current_stream().wait_stream(side)
        for tensor, value in zip(moved, before, strict=True):
            tensor.copy_(value)

    def _captured(self) -> Any:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step()
        return graph

    def _step(self) -> None:
        """AdamW (Loshchilov & Hutter 2019) on every member's batch; nothing in it waits for the device."""
        rows, clip, shrink, first, second, rate, root, share = self.numbers.unbind(0)  # (M, 1) each
        inputs = [x[self.index] for x in self.rows.inputs]  # (M, B, ...)
        with self._ways():
            losses = vmap(self._loss)(
                dict(zip(self.names, self.weights, strict=True)) | self.buffers,
                self.masks.all(),
                self.rows.y[self.index],
                inputs,
            )
        found = torch.autograd.grad(losses.sum(), self.weights)
        gradient = torch.cat([g.flatten(1) for g in found], dim=1)  # (M, P)
        gradient *= (clip / (gradient.norm(dim=1, keepdim=True) + 1e-6)).clamp(max=1)
        self.flat.mul_(1 - shrink * self.decayed)
        self.moments[0].lerp_(gradient, first)
        self.moments[1].lerp_(gradient.square(), second)
        self.flat.sub_(rate * self.moments[0] / (self.moments[1].sqrt() * root + EPSILON))
        self.average.lerp_(self.flat, share)
        self.total.add_(losses.detach() * rows[:, 0])

    @contextmanager
    def _ways(self) -> Iterator[None]:
        """Computed in operations that ``vmap`` has rules for."""
        half = torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)
        with stepwise(), sdpa_kernel(SDPBackend.MATH), half:
            yield

    def _loss(
        self, weights: dict[str, Tensor], masks: list[Tensor], y: Tensor, inputs: list[Tensor]
    ) -> Tensor:
        """Of one member, as ``vmap`` shows it."""
        with Given(masks):
            loss: Tensor = functional_call(self.module, weights, (y, *inputs))
        return loss

    # --- validation --------------------------------------------------------------------------------------

    @torch.no_grad()
    def _validated(self, rows: _Rows) -> list[float]:
        """Mean log losses of known labels, by the averaged weights."""
        n = [len(member.checks.y) if member.checks else 0 for member in self.members]
        index = rows.index(len(n), max(n))
        for at, (start, count) in enumerate(zip(rows.starts, n, strict=True)):
            index[at, :count] = torch.arange(start, start + count)
        weights = dict(zip(self.names, self._views(self.average), strict=True))
        self.module.eval()
        total, known = torch.zeros(2, len(n), dtype=torch.float64)
        for part in torch.split(index.to(self.device), PASS_ITEMS, dim=1):
            with self._ways():
                loss, weight = vmap(self._log_loss)(weights, rows.y[part], [x[part] for x in rows.inputs])
            total, known = total + (loss * weight).cpu(), known + weight.cpu()
        return [float(loss) for loss in total / known.clamp(min=1e-12)]

    def _log_loss(self, weights: dict[str, Tensor], y: Tensor, inputs: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Of one member, and how many labels it is the mean of."""
        scores = functional_call(self.scores, weights, tuple(inputs))
        return self.log_loss(scores[:, : y.shape[1]], y), (~y.isnan()).sum() / y.shape[1]

    # --- members -----------------------------------------------------------------------------------------

    def _keep(self, members: Sequence[int]) -> None:
        """Go on with these, and at no cost for the others."""
        if len(members) == len(self.members):
            return
        if not members:
            self.members = []
            return
        at = torch.tensor(members, dtype=torch.int64, device=self.device)
        self.flat, self.average = self.flat[at], self.average[at]
        self.moments = [moment[at] for moment in self.moments]
        self.buffers = {name: value[at] for name, value in self.buffers.items()}
        for rows in (self.rows, self.checks):
            if rows is not None:
                rows.starts = [rows.starts[i] for i in members]
        self.members, self.taken = [self.members[i] for i in members], [self.taken[i] for i in members]
        self.masks.keep(members)
        self._lay_out()

    def _lay_out(self) -> None:
        """What a step reads at one place in memory, and the graph that is captured of it."""
        self.graph = None
        n = len(self.members)
        self.weights = [view.detach().requires_grad_() for view in self._views(self.flat)]
        self.index = self.rows.index(n, self.items).to(self.device)
        self.numbers = self.flat.new_zeros(8, n, 1)
        self.total = self.flat.new_zeros(n)

    def _views(self, flat: Tensor) -> list[Tensor]:
        """(M, P) as the network's own arrays, (M, ...) each."""
        parts = torch.split(flat, self.sizes, dim=1)
        return [part.view(-1, *shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def _state(self, at: int) -> dict[str, Tensor]:
        views = zip(self.names, self._views(self.average), strict=True)
        return {name.removeprefix("net."): view[at].cpu().clone() for name, view in views}

    @torch.no_grad()
    def _sites(self, rows: int) -> list[Site]:
        """Where a batch of so many rows is dropped out."""
        if rows not in self.known_sites:
            with stepwise(), Recorded() as asked:
                self.module.net.train().score(*(x[:1].expand(rows, *x.shape[1:]) for x in self.rows.inputs))
            self.known_sites[rows] = asked.sites
        return self.known_sites[rows]
