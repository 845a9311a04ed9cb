"""One network's training: a plain loop of steps, its optimiser, averaged weights and the best state.

Quiet on purpose: no logger, no checkpoint file, no bar. Whoever watches is told each epoch.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ehrbench.models.batches import Batch, Batches
from ehrbench.models.course import FitCourse
from ehrbench.models.loss import JointLoss, TargetLoss
from ehrbench.models.schedule import TrainingSettings
from ehrbench.nets.network import Network


class Training:
    """Trains ``net`` by ``loss``; validates by the target's plain log loss, on averaged weights if there are
    any.

    half: products in bf16 (autocast), everything else as the network's weights are.
    """

    def __init__(
        self,
        net: Network,
        loss: TargetLoss | JointLoss,
        settings: TrainingSettings,
        steps_per_epoch: int,
        half: bool = False,
    ) -> None:
        self.net, self.settings, self.steps_per_epoch = net, settings, steps_per_epoch
        self.device = next(net.parameters()).device
        self.loss = loss.to(self.device)
        self.log_loss = plain(loss).to(self.device)
        self.half = half
        self.optimiser = settings.optimiser(
            [
                {
                    "params": [p for p in net.parameters() if p.dim() > 1],
                    "weight_decay": settings.weight_decay,
                },
                {"params": [p for p in net.parameters() if p.dim() <= 1], "weight_decay": 0.0},
            ]
        )
        self.weights = [p for group in self.optimiser.param_groups for p in group["params"]]
        self.average = Average(net, settings.ema_decay) if settings.ema_decay else None
        self.taken = 0

    @property
    def kept(self) -> nn.Module:
        """The network whose state is validated and kept."""
        return self.net if self.average is None else self.average.net

    def run(self, batches: Batches, checks: Batches | None, course: FitCourse) -> dict[str, Tensor]:
        """Train until the course has ended; the state to keep, on the CPU."""
        state: dict[str, Tensor] = {}
        while not course.ended:
            values = {"train_loss": self._epoch(batches)}
            if checks is not None:
                values["valid_loss"] = self._validated(checks)
            if course.passed(values):
                state = {k: v.detach().cpu().clone() for k, v in self.kept.state_dict().items()}
        return state

    def _epoch(self, batches: Iterable[Batch]) -> float:
        """One pass; the mean training loss."""
        mean = _Mean()
        self.net.train()
        for batch in batches:
            mean.add(self._step(batch), len(batch.y))
        return mean.take()

    def _step(self, batch: Batch) -> Tensor:
        rate = self.settings.learning_rate * self.settings.rate_at(self.taken, self.steps_per_epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            loss: Tensor = self.loss(batch.scores(self.net), batch.y)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.weights, self.settings.gradient_clip)
        self.optimiser.step()
        if self.average is not None:
            self.average.update()
        self.taken += 1
        return loss.detach()

    def _validated(self, checks: Iterable[Batch]) -> float:
        """The mean log loss of known labels."""
        mean, net = _Mean(), self.kept.eval()
        assert isinstance(net, Network)
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            for batch in checks:
                y = batch.y
                known = (~y.isnan()).sum() / y.shape[1]
                scores = batch.scores(net)[:, : y.shape[1]]  # without those of auxiliary labels
                mean.add(self.log_loss(scores, y), known)
        return mean.take()


def plain(loss: TargetLoss | JointLoss) -> TargetLoss:
    """The target's log loss without weights."""
    target = loss if isinstance(loss, TargetLoss) else loss.target
    return TargetLoss(target.kind, torch.ones_like(target.weights))


class Average:
    """A network whose weights are the exponential average of another's over steps (Polyak).

    Of buffers, too: running means and variances belong to the weights that gave them. Counters are copied.
    """

    def __init__(self, net: Network, decay: float) -> None:
        self.net, self.decay, self.n = copy.deepcopy(net), decay, 0
        # listed once: to walk through a network's modules takes longer than to average its weights
        own, current = ([*of.parameters(), *of.buffers()] for of in (self.net, net))
        pairs = list(zip(own, current, strict=True))
        self.averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        self.copied = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """By the network's weights as they are now."""
        share = newest_share(self.decay, self.n)
        for average, value in self.copied if share < 1 else [*self.averaged, *self.copied]:
            average.copy_(value)
        if share < 1 and self.averaged:
            own, current = map(list, zip(*self.averaged, strict=True))
            torch._foreach_lerp_(own, current, share)
        self.n += 1


def newest_share(decay: float, n: int) -> float:
    """What the newest weights count in the average of n before; decay grows from 0, so that the random start
    is soon forgotten."""
    return 1 - min(decay, (1 + n) / (10 + n)) if n else 1.0


class _Mean:
    """A weighted mean that stays on its device until it is asked for."""

    def __init__(self) -> None:
        self.total: Tensor | float = 0.0
        self.weight: Tensor | float = 0.0

    def add(self, value: Tensor, weight: Tensor | float) -> None:
        self.total, self.weight = self.total + value * weight, self.weight + weight

    def take(self) -> float:
        return float(self.total) / max(float(self.weight), 1e-12)
