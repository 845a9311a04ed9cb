"""Challenge: champion and challengers side by side, as requests come: how fast, how often called, agreed."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from pydantic import BaseModel, Field

from ehrbench.core.types import BoolArray, FloatArray

#: Latest requests whose times are remembered.
LATEST = 1000


class LiveAnswer(BaseModel):
    """What one alias has predicted since it took its bundle."""

    requests: int = 0
    units: int = 0
    p50_ms: float | None = Field(None, description=f"Time to predict, of the latest {LATEST} requests")
    p95_ms: float | None = None
    called: dict[str, float] = Field(description="Class to the share of units called")
    shadow_requests: int = Field(
        0, description="Those that the champion answered and this only predicted, too"
    )
    shadow_left_out: int = Field(
        0, description="Those not predicted again, because the server had to answer others"
    )
    shadow_failed: int = Field(0, description="Those that it could not predict")
    agreement: float | None = Field(None, description="Share of shadowed calls that are the champion's")
    mean_difference: float | None = Field(
        None, description="Mean |Δp| to the champion's, over shadowed units"
    )
    largest_difference: float | None = None


@dataclass
class Tally:
    """Counts of one deployment; written by the event loop alone."""

    classes: tuple[str, ...]
    requests: int = 0
    units: int = 0
    shadow_requests: int = 0
    left_out: int = 0
    failed: int = 0
    _milliseconds: deque[float] = field(default_factory=lambda: deque(maxlen=LATEST))
    _called: FloatArray = field(default_factory=lambda: np.zeros(0))
    _agreed: int = 0
    _compared: int = 0
    _difference: float = 0.0
    _largest: float = 0.0

    def add(self, called: BoolArray, milliseconds: float) -> None:
        """One request's calls (U, C)."""
        self.requests += 1
        self.units += len(called)
        self._milliseconds.append(milliseconds)
        self._called = called.sum(axis=0) + (self._called if len(self._called) else 0.0)

    def compare(self, p: FloatArray, called: BoolArray, champions: FloatArray, its_calls: BoolArray) -> None:
        """One shadowed request's probabilities and calls (U, C) beside the champion's."""
        self.shadow_requests += 1
        difference = np.abs(p - champions)
        self._agreed += int((called == its_calls).sum())
        self._compared += called.size
        self._difference += float(difference.sum())
        self._largest = max(self._largest, float(difference.max(initial=0)))

    def answer(self) -> LiveAnswer:
        """As ``/models`` shows it."""
        shares = (self._called / max(self.units, 1)).tolist() if len(self._called) else []
        p50 = p95 = agreement = mean = largest = None
        if self._milliseconds:
            p50, p95 = np.quantile(list(self._milliseconds), [0.5, 0.95]).round(2).tolist()
        if self._compared:
            agreement = round(self._agreed / self._compared, 4)
            mean, largest = round(self._difference / self._compared, 6), round(self._largest, 6)
        return LiveAnswer(
            requests=self.requests,
            units=self.units,
            called=dict(zip(self.classes, np.round(shares, 4).tolist(), strict=False)),
            shadow_requests=self.shadow_requests,
            shadow_left_out=self.left_out,
            shadow_failed=self.failed,
            agreement=agreement,
            mean_difference=mean,
            largest_difference=largest,
            p50_ms=p50,
            p95_ms=p95,
        )
