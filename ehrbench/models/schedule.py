"""How a network is trained: the settings that all of them share, and the learning rate over time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from ehrbench.core.errors import ConfigError
from ehrbench.models.settings import check_choice, check_integer, check_range

ACCELERATORS = ("auto", "cpu", "gpu")
PRECISIONS = ("auto", "32", "bf16", "64")
#: As text.
TOGETHER = ("auto", "True", "False")
SCHEDULES = ("cosine", "constant")


@dataclass(kw_only=True, eq=False)
class TrainingSettings:
    """Settings of a network's training, inherited by every network model as constructor arguments.

    learning_rate, weight_decay: of AdamW; matrices decay, biases, norms and Λ do not.
    warmup_epochs, schedule: linear warm-up, then cosine to a hundredth over ``max_epochs``, or constant.
    patience: epochs without a better log loss on the validation records before stopping.
    gradient_clip: largest norm of the gradient.
    class_weight_power: 0 no weighting, 1 balanced; scores stay calibrated (see ``loss``).
    auxiliary_weight: of the loss of auxiliary labels, where the task has any, beside the target's; 0: none.
    ema_decay: weights are averaged over steps with this decay (Polyak), and the average is what is validated
        and kept; 0 keeps the last weights.
    accelerator: auto takes a GPU where there is one. precision: auto is 32 bit; bf16 (products only) was
        slower wherever it was measured; 64, which trains in double precision, is for comparing.
    together: whether folds of a trial and seeds of a fit are trained as one batched network: auto where that
        pays, on a GPU; models whose networks cannot be stacked, and views too large to lie on the device, are
        trained one after another whatever it says.
    n_seeds: networks of a fit, each drawn and trained by a seed of its own; their scores are averaged.
    threads: CPU threads; results are bit-for-bit the same only for the same number.
    """

    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    batch_size: int = 64
    max_epochs: int = 30
    patience: int = 6
    warmup_epochs: float = 1.0
    schedule: str = "cosine"
    gradient_clip: float = 1.0
    class_weight_power: float = 0.0
    auxiliary_weight: float = 0.0
    ema_decay: float = 0.98
    accelerator: str = "auto"
    precision: str = "auto"
    together: str | bool = "auto"
    n_seeds: int = 1
    threads: int = 1

    def __post_init__(self) -> None:
        check_range("learning_rate", self.learning_rate, 1e-6, 1.0)
        check_range("weight_decay", self.weight_decay, 0.0, 100.0)
        check_integer("batch_size", self.batch_size, 1, 65536)
        check_integer("max_epochs", self.max_epochs, 1, 10000)
        check_integer("patience", self.patience, 1, 10000)
        check_range("warmup_epochs", self.warmup_epochs, 0.0, 1000.0)
        check_choice("schedule", self.schedule, SCHEDULES)
        check_range("gradient_clip", self.gradient_clip, 1e-6, 1e6)
        check_range("class_weight_power", self.class_weight_power, 0.0, 1.0)
        check_range("auxiliary_weight", self.auxiliary_weight, 0.0, 100.0)
        check_range("ema_decay", self.ema_decay, 0.0, 0.9999)
        check_choice("accelerator", self.accelerator, ACCELERATORS)
        check_choice("precision", str(self.precision), PRECISIONS)
        if str(self.together) not in TOGETHER:
            raise ConfigError(
                "together", f"{self.together!r} is none of auto, true, false", "take one of them"
            )
        check_integer("n_seeds", self.n_seeds, 1, 1000)
        check_integer("threads", self.threads, 1, 1024)

    def optimiser(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """Of parameter groups that say their own weight decay."""
        return torch.optim.AdamW(groups, lr=self.learning_rate, foreach=True)  # few calls, the same bits

    def rate_at(self, step: int, steps_per_epoch: int) -> float:
        """Factor of the learning rate at an optimiser step."""
        warmup = self.warmup_epochs * steps_per_epoch
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if self.schedule == "constant":
            return 1.0
        through = (step - warmup) / max(1.0, self.max_epochs * steps_per_epoch - warmup)
        return 0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, through))) / 2
