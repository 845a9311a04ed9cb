"""Pipeline's settings: the block ``pipeline`` of ``conf/pipeline.yaml``, beside the search's own keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ehrbench.app.composed.blocks import Gating, Place
from ehrbench.app.composed.checking import checked
from ehrbench.core.errors import ConfigError

Positive = Annotated[float, Field(gt=0)]
Part = Annotated[str, Field(pattern=r"^[\w+-]+$")]


class _PipelineBlock(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class LoadRequirement(_PipelineBlock):
    """What a bundle must bear before it is approved."""

    clients: Annotated[int, Field(ge=1, le=256)]
    seconds: Positive
    p99_ms: Positive


class Schedule(_PipelineBlock):
    """When the next round begins."""

    every_days: Positive | None
    look_minutes: Positive
    monitoring: str | None
    new_outcomes: Annotated[int, Field(ge=1)] | None


class PipelineSettings(_PipelineBlock):
    """What is made of a search's winner."""

    problem: Part | None
    kind: Part | None
    features: Part
    approve: Literal["gate", "hand"]
    served: Place
    canary: Annotated[float, Field(ge=0, lt=1)]
    load_test: LoadRequirement | None
    gate: Gating
    schedule: Schedule


class _Composed(_PipelineBlock):
    pipeline: PipelineSettings


def pipeline_settings(config: Mapping[str, Any]) -> tuple[PipelineSettings, dict[str, Any]]:
    """The checked block, and the search's configuration without it. Raises ConfigError naming the key."""
    search = {key: value for key, value in config.items() if key != "pipeline"}
    settings = checked(_Composed, {"pipeline": config["pipeline"]}).pipeline
    if settings.canary and settings.approve == "gate":
        problem = f"{settings.canary:g} of the requests, and nobody looks at them"
        raise ConfigError("pipeline.canary", problem, "give pipeline.approve=hand, or no canary")
    schedule = settings.schedule
    if schedule.new_outcomes and not schedule.monitoring:
        remedy = "give pipeline.schedule.monitoring=URL"
        raise ConfigError("pipeline.schedule.new_outcomes", "nobody says how many were told", remedy)
    return settings, search
