"""FitCourse: what the epochs of one fit have brought, whoever trains it, alone or beside others."""

from __future__ import annotations

import math

from ehrbench.core.errors import FitError
from ehrbench.core.model import FitResult, Watch


class FitCourse:
    """The curve, the best epoch, and whether patience is out.

    total: most epochs; patience: of them without a better validation loss, where there is one
    (``has_valid``). watch: is told of each. number: where the fit has several seeds (``of``), which of them;
    its epochs are counted after those of the others.
    """

    def __init__(
        self, total: int, patience: int, watch: Watch, has_valid: bool, number: int = 0, of: int = 1
    ) -> None:
        self.total, self.patience, self.watch, self.has_valid = total, patience, watch, has_valid
        self.number, self.of = number, of
        self.best, self.best_step = math.inf, 0
        self.curve: list[tuple[int, dict[str, float]]] = []

    @property
    def ended(self) -> bool:
        epoch = len(self.curve)
        return epoch >= self.total or (self.has_valid and epoch - self.best_step >= self.patience)

    @property
    def result(self) -> FitResult:
        """Epochs of the curve as the watch was told."""
        before = self.number * self.total
        return FitResult(self.best_step, tuple((before + epoch, values) for epoch, values in self.curve))

    def passed(self, values: dict[str, float]) -> bool:
        """After an epoch of these losses: whether its state is to be kept. FitError where one is not finite.

        Without validation the last epoch's is.
        """
        epoch = len(self.curve) + 1
        for name, value in values.items():
            if not math.isfinite(value):
                raise FitError(
                    f"{name} is {value} in epoch {epoch} of {self.total} — "
                    "lower learning_rate or gradient_clip, or look for extreme values in the features"
                )
        self.curve.append((epoch, values))
        self.watch(self.number * self.total + epoch, self.of * self.total, values)
        loss = values.get("valid_loss", -math.inf)
        if self.has_valid and loss >= self.best:
            return False
        self.best, self.best_step = loss, epoch
        return self.has_valid or epoch == self.total
