"""Trainee: one network on its way, with what it learns from and how far it has come."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ehrbench.core.errors import FitError
from ehrbench.models.batches import Batches
from ehrbench.models.course import FitCourse
from ehrbench.models.loss import JointLoss, TargetLoss
from ehrbench.models.schedule import TrainingSettings
from ehrbench.models.training import Training
from ehrbench.nets.network import Network


@dataclass(eq=False)
class Trainee:
    """One network and what it learns.

    net: as drawn, on the device. seed: of its fit; random: state of torch's generator after the draw.

    half: products in bf16. state: the best one, on the CPU, once the course has ended, if it was
        no fault that ended it.
    """

    net: Network
    loss: TargetLoss | JointLoss
    settings: TrainingSettings
    batches: Batches
    checks: Batches | None
    course: FitCourse
    seed: int
    random: Tensor
    half: bool
    state: dict[str, Tensor] = field(default_factory=dict)
    fault: FitError | None = None

    @property
    def shape(self) -> object:
        """Equal for those that may train together; None for one that trains alone."""
        if not self.batches.inputs or (self.checks is not None and not self.checks.inputs):
            return None
        weights = tuple((name, tuple(value.shape)) for name, value in self.net.state_dict().items())
        inputs = tuple((tuple(x.shape[1:]), x.dtype) for x in self.batches.inputs)
        return weights, inputs, self.batches.items, self.checks is None, self.half

    def train(self) -> None:
        """Alone, its dropout drawn from torch's generator as its network's draw left it."""
        torch.set_rng_state(self.random)
        training = Training(self.net, self.loss, self.settings, len(self.batches), self.half)
        self.state = training.run(self.batches, self.checks, self.course)
