"""Blocks of a configuration: its keys, and what the value of each may be.

What is a place becomes one in full here (``core.places``), and nothing behind this door asks again from where
the command was run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from ehrbench.core.errors import ConfigError
from ehrbench.core.places import home, is_address
from ehrbench.registry.gate_limits import Limits


def _set_name(name: Any) -> Any:
    """A set may be called 2015, which YAML reads as a number."""
    return str(name) if isinstance(name, int) and not isinstance(name, bool) else name


def _none_named(models: Any) -> Any:
    """``models=[]`` composes to nothing at all."""
    return {} if models is None else models


class _NoPlace(ValueError):
    """A ConfigError to come, once ``checked`` knows its whole key: pydantic takes ValueErrors alone."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem, self.remedy = problem, remedy


def _place(given: Any, info: ValidationInfo) -> Any:
    if not isinstance(given, str | Path):
        return given
    where: Callable[[Path], Path] = (info.context or {}).get("placed", Path.absolute)
    try:
        return str(where(home(given, "")))
    except ConfigError as error:
        raise _NoPlace(error.problem, error.remedy) from error


def _place_or_address(given: Any, info: ValidationInfo) -> Any:
    return given if isinstance(given, str) and is_address(given) else _place(given, info)


SetName = Annotated[str, BeforeValidator(_set_name)]
#: A file or folder; an address of an object store, too.
Place = Annotated[str, BeforeValidator(_place)]
PlaceOrAddress = Annotated[str, BeforeValidator(_place_or_address)]
#: What becomes a folder's name, and characters of one.
LONGEST_NAME = 100
Name = Annotated[str, Field(pattern=rf"^[A-Za-z0-9][A-Za-z0-9._-]{{0,{LONGEST_NAME - 1}}}$")]
Folds = Annotated[int, Field(ge=2, le=20)]
Replicates = Annotated[int, Field(ge=100, le=100_000)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Threads = Annotated[int, Field(ge=1, le=256)]
Trials = Annotated[int, Field(ge=1, le=100_000)]
#: ``_target_`` and its keyword arguments: which there are, that class says (``app.wired.building``).
Construction = dict[str, Any]


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Nested(_Block):
    name: Name
    kind: Literal["nested"]
    outer_folds: Folds
    inner_folds: Folds


class Holdout(_Block):
    name: Name
    kind: Literal["holdout"]
    inner_folds: Folds
    duplicates: Literal["drop", "refuse", "allow"]


class Temporal(_Block):
    name: str
    kind: Literal["temporal"]
    before: Annotated[str, BeforeValidator(str)]
    inner_folds: Folds
    duplicates: Literal["drop", "refuse", "allow"]


class External(_Block):
    name: Name
    kind: Literal["file"]
    path: Place
    inner_folds: Folds
    inner: Literal["pooled", "valid"]
    duplicates: Literal["drop", "refuse", "allow"]


class Data(_Block):
    root: Place
    sets: list[SetName] = Field(min_length=1)
    train_sets: list[SetName]
    test_sets: list[SetName]
    file: Place | None = None
    test_file: Place | None = None
    labels: Place | None = None
    descriptors: Place | None = None
    limit: Annotated[int, Field(ge=20)] | None
    alike: Literal["count", "join"] = "count"


class Trainer(_Block):
    accelerator: Literal["auto", "cpu", "gpu"]
    together: bool | Literal["auto"] = "auto"
    threads: Threads


class Report(_Block):
    n_bootstrap: Replicates
    explained: Annotated[int, Field(ge=0, le=100_000)] = 200


class SearchBlock(_Block):
    latency_ms: Annotated[float, Field(gt=0)] | None = None
    portfolio: bool = False


class Sampler(_Block):
    name: Literal["tpe", "gp", "cmaes", "random"]
    n_startup_trials: Annotated[int, Field(ge=1)] = 8
    multivariate: bool = True
    group: bool = True
    constant_liar: bool = True


class Pruner(_Block):
    name: Literal["race", "none"]
    least_chance: Annotated[float, Field(gt=0, lt=0.5)] = 0.2
    blocks: Annotated[int, Field(ge=6, le=200)] = 20


class Storage(_Block):
    kind: Literal["sqlite", "mysql"]
    path: Place = ""
    artifacts: PlaceOrAddress
    checkpoints: PlaceOrAddress | None = None
    lease_s: Annotated[float, Field(ge=5)]
    max_attempts: Annotated[int, Field(ge=1, le=100)]


class Mlflow(_Block):
    uri: str | None = None
    experiment: Annotated[str, Field(min_length=1, max_length=250)]


class Wandb(_Block):
    folder: Place
    project: Annotated[str, Field(min_length=1, max_length=128)]


class Trackers(_Block):
    """Those that are wanted."""

    mlflow: Mlflow | None = None
    wandb: Wandb | None = None


class TaskBlock(_Block):
    """A task may have keys of its own that its other blocks refer to; each stands in its YAML."""

    model_config = ConfigDict(extra="allow", strict=True)

    name: Name
    metric: str
    sets: list[SetName]
    train_sets: list[SetName]
    test_sets: list[SetName]
    build: Construction
    publisher: Construction
    views: dict[str, Construction]


class ModelBlock(_Block):
    """space: checked by whoever reads it (``spine.space``)."""

    view: str
    n_trials: Trials | None = None
    build: Construction
    space: dict[str, Any] | None = None
    portfolio: list[dict[str, Any]] = []


class EnsembleBlock(_Block):
    """Names of candidates; all, where it is left out."""

    combiners: list[str] = []
    calibrators: list[str] = []


class ThresholdBlock(_Block):
    rule: str
    value: float | None = None


class Settings(BaseModel):
    """The blocks that every entry point of a search shares."""

    model_config = ConfigDict(extra="forbid", strict=True)

    n_trials: Trials
    metric: str
    study_name: Name | None
    runs_dir: Place
    logs_dir: PlaceOrAddress | None = None
    seed: Seed
    refit: Literal["inner", "full"]
    workers: Annotated[int, Field(ge=1, le=256)] | None
    plugins: list[str] = []
    data: Data
    trainer: Trainer
    report: Report
    search: SearchBlock = SearchBlock()
    sampler: Sampler
    pruner: Pruner
    storage: Storage
    tracker: Trackers
    protocol: Annotated[Nested | Holdout | Temporal | External, Field(discriminator="kind")]
    task: TaskBlock
    model: Annotated[dict[Name, ModelBlock], BeforeValidator(_none_named)] = {}
    ensemble: EnsembleBlock
    threshold: ThresholdBlock
    worker: Annotated[int, Field(ge=0)] | None = None


class Scored(_Block):
    """Labelled records to score a bundle on."""

    root: Place
    sets: list[SetName] = Field(min_length=1)
    file: Place | None = None
    labels: Place | None = None
    descriptors: Place | None = None


class Evaluation(_Block):
    """The whole of ``evaluate.py``."""

    bundle: Place
    data: Scored
    output: Place | None
    n_bootstrap: Replicates
    seed: Seed
    threads: Threads
    plugins: list[str] = []


class GateData(_Block):
    """Labelled records that judge a challenger; none: the outer tests of the two runs."""

    gate_sets: list[SetName]
    root: Place
    file: Place | None
    labels: Place | None
    descriptors: Place | None


class Gating(_Block):
    """The whole of ``ehrbench/conf/registry.yaml``."""

    data: GateData
    limits: Limits


class BatchPrediction(_Block):
    """The whole of ``predict.py``."""

    bundle: Place
    input: Place
    output: Place
    threads: Threads
    max_skipped: Annotated[float, Field(ge=0, le=1)]
    plugins: list[str] = []
