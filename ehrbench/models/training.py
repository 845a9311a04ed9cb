"""One network's training in Lightning: the step, the optimiser, and the callback that keeps the best state.

Quiet on purpose: no logger, no checkpoint file, no bar. Whoever watches is told each epoch.
"""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from ehrbench.core.errors import FitError
from ehrbench.core.model import Watch
from ehrbench.models.batches import Batch
from ehrbench.models.loss import JointLoss, TargetLoss
from ehrbench.models.schedule import TrainingSettings
from ehrbench.nets.network import Network


class Training(pl.LightningModule):
    """Trains ``net`` by ``loss``; validates by the target's plain log loss, on averaged weights if there are
    any."""

    def __init__(
        self, net: Network, loss: TargetLoss | JointLoss, settings: TrainingSettings, steps_per_epoch: int
    ) -> None:
        super().__init__()
        self.net, self.loss, self.settings, self.steps_per_epoch = net, loss, settings, steps_per_epoch
        target = loss if isinstance(loss, TargetLoss) else loss.target
        self.log_loss = TargetLoss(target.kind, torch.ones_like(target.weights))
        self.average = (
            AveragedModel(net, multi_avg_fn=_ramped_average(settings.ema_decay), use_buffers=True)
            if settings.ema_decay
            else None
        )
        self.train_sum, self.valid_sum = _Mean(), _Mean()

    @property
    def kept(self) -> Network:
        """The network whose state is validated and kept."""
        return self.net if self.average is None else self.average.module  # type: ignore[return-value]

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        loss: Tensor = self.loss(batch.scores(self.net), batch.y)
        self.train_sum.add(loss.detach(), len(batch.y))
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        if self.average is not None:
            self.average.update_parameters(self.net)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        y = batch.y
        known = (~y.isnan()).sum() / y.shape[1]
        scores = batch.scores(self.kept)[:, : y.shape[1]]  # without those of auxiliary labels
        self.valid_sum.add(self.log_loss(scores, y), known)

    def configure_optimizers(self) -> Any:
        decayed = [p for p in self.net.parameters() if p.dim() > 1]
        spared = [p for p in self.net.parameters() if p.dim() <= 1]
        groups = [
            {"params": decayed, "weight_decay": self.settings.weight_decay},
            {"params": spared, "weight_decay": 0.0},
        ]
        optimiser = self.settings.optimiser(groups)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: self.settings.rate_at(step, self.steps_per_epoch)
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _ramped_average(decay: float) -> Any:
    """Exponential average whose decay grows from 0, so that the random start is soon forgotten.

    Of buffers, too: running means and variances belong to the weights that gave them. Counters are copied.
    """

    @torch.no_grad()
    def update(averaged: Any, current: Any, n_averaged: Tensor | int) -> None:
        averaged, current, n = list(averaged), list(current), float(n_averaged)
        if not averaged[0].is_floating_point():  # tensors come grouped by type
            torch._foreach_copy_(averaged, current)
            return
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + n) / (10 + n)))

    return update


class _Mean:
    """A weighted mean that stays on its device until it is asked for."""

    def __init__(self) -> None:
        self.total: Tensor | float = 0.0
        self.weight: Tensor | float = 0.0

    def add(self, value: Tensor, weight: Tensor | float) -> None:
        self.total, self.weight = self.total + value * weight, self.weight + weight

    def take(self) -> float:
        """The mean since the last call."""
        value = float(self.total) / max(float(self.weight), 1e-12)
        self.total = self.weight = 0.0
        return value


class Keeper(pl.Callback):
    """Keeps the best state, stops when patience is out, fails on a loss that is not finite."""

    def __init__(self, total: int, patience: int, watch: Watch, has_valid: bool) -> None:
        self.total, self.patience, self.watch, self.has_valid = total, patience, watch, has_valid
        self.best, self.best_step = math.inf, 0
        self.state: dict[str, Tensor] = {}
        self.curve: list[tuple[int, dict[str, float]]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        # Lightning validates at the end of the epoch's last batch, before this hook: both losses are here.
        assert isinstance(module, Training)
        epoch = trainer.current_epoch + 1
        values = {"train_loss": module.train_sum.take()}
        if self.has_valid:
            values["valid_loss"] = module.valid_sum.take()
        for name, value in values.items():
            if not math.isfinite(value):
                raise FitError(
                    f"{name} is {value} in epoch {epoch} of {self.total} — "
                    "lower learning_rate or gradient_clip, or look for extreme values in the features"
                )
        self.curve.append((epoch, values))
        self._keep(module, epoch, values.get("valid_loss", -math.inf))
        self.watch(epoch, self.total, values)
        if self.has_valid and epoch - self.best_step >= self.patience:
            trainer.should_stop = True

    def _keep(self, module: Training, epoch: int, loss: float) -> None:
        if not self.has_valid or loss < self.best:
            self.best, self.best_step = loss, epoch
            if self.has_valid or epoch == self.total:
                self.state = {k: v.detach().cpu().clone() for k, v in module.kept.state_dict().items()}
