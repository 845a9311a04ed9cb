"""Limits of the gate, as ``ehrbench/conf/registry.yaml`` has them with the reason for each."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class MetricLimit(_Strict):
    name: str | None
    margin: Annotated[float, Field(ge=0)]
    least: float | None


class CalibrationLimit(_Strict):
    ece: Share
    slope: Annotated[list[float], Field(min_length=2, max_length=2)]


class SubgroupLimit(_Strict):
    margin: Annotated[float, Field(ge=0)]


class MisreadLimit(_Strict):
    share: Annotated[float, Field(gt=0, le=0.5)]
    margin: Share


class LatencyLimit(_Strict):
    most_ms: Positive
    most_ratio: Positive


class Limits(_Strict):
    """Every check's limit; which one a key is of stands in the YAML."""

    metric: MetricLimit
    calibration: CalibrationLimit
    subgroup: SubgroupLimit
    misread: MisreadLimit
    latency: LatencyLimit
    size_mb: Positive
    least_records: Annotated[int, Field(ge=1)]
    simulated: bool
    n_bootstrap: Annotated[int, Field(ge=100, le=100_000)]
    seed: Annotated[int, Field(ge=0, lt=2**31)]
