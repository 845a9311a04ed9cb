"""Lookahead: k steps forward, one step back (Zhang, Lucas, Hinton & Ba 2019, algorithm 1), around AdamW."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Lookahead(torch.optim.AdamW):
    """After every ``ahead`` steps the weights go the share ``alpha`` of the way from where they started."""

    def __init__(self, groups: Any, *, lr: float, ahead: int, alpha: float) -> None:
        super().__init__(groups, lr=lr)
        self.ahead, self.alpha, self.taken = ahead, alpha, 0
        self._weights = [p for group in self.param_groups for p in group["params"]]
        self._slow = [p.detach().clone() for p in self._weights]

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = super().step(closure)
        self.taken += 1
        if self.taken % self.ahead == 0:
            self._back()
        return loss

    @torch.no_grad()
    def _back(self) -> None:
        fast: list[Tensor] = [p.detach() for p in self._weights]
        torch._foreach_lerp_(self._slow, fast, self.alpha)
        torch._foreach_copy_(fast, self._slow)
