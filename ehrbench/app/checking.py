"""Checks a composed configuration before anything runs: keys, those added with a + too, and values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ehrbench.core.errors import ConfigError, check_once
from ehrbench.infra.settings import ADDRESSES, refuse_password

#: A set may be called 2015, which YAML reads as a number.
SetName = Annotated[str, BeforeValidator(lambda name: str(name) if isinstance(name, int) else name)]
#: A file or folder.
Place = Annotated[str, BeforeValidator(lambda place: str(place) if isinstance(place, int | Path) else place)]
Folds = Annotated[int, Field(ge=2, le=20)]
Replicates = Annotated[int, Field(ge=100, le=100_000)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Threads = Annotated[int, Field(ge=1, le=256)]


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Nested(_Block):
    name: str
    kind: Literal["nested"]
    outer_folds: Folds
    inner_folds: Folds


class Holdout(_Block):
    name: str
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
    name: str
    kind: Literal["file"]
    path: str
    inner_folds: Folds
    inner: Literal["pooled", "valid"]
    duplicates: Literal["drop", "refuse", "allow"]


class Data(_Block):
    root: str
    sets: list[SetName] = Field(min_length=1)
    train_sets: list[SetName]
    test_sets: list[SetName]
    file: Place | None = None
    test_file: Place | None = None
    limit: Annotated[int, Field(ge=20)] | None


class Trainer(_Block):
    accelerator: Literal["auto", "cpu", "gpu"]
    threads: Threads


class Report(_Block):
    n_bootstrap: Replicates
    explained: Annotated[int, Field(ge=0, le=100_000)] = 200


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
    path: str = ""
    artifacts: str
    checkpoints: str | None = None
    lease_s: Annotated[float, Field(ge=5)]
    max_attempts: Annotated[int, Field(ge=1, le=100)]


class Tracking(_Block):
    kind: Literal["mlflow", "none"]
    uri: str = ""
    experiment: str = ""
    spool: str = ""


class TaskBlock(_Block):
    """Its keys; their values are looked into where they are used, as those of ``Any`` are below.

    A task may have keys of its own that its other blocks refer to; each stands in its YAML.
    """

    model_config = ConfigDict(extra="allow", strict=True)

    name: str
    metric: Any
    sets: Any
    train_sets: Any
    test_sets: Any
    build: Any
    publisher: Any
    views: Any


class ModelBlock(_Block):
    """Likewise."""

    view: Any
    n_trials: Any = None
    build: Any
    space: Any = None


class Settings(BaseModel):
    """The blocks that every entry point of a search shares."""

    model_config = ConfigDict(extra="forbid", strict=True)

    n_trials: Annotated[int, Field(ge=1, le=100_000)]
    metric: str
    study_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")] | None
    runs_dir: str
    logs_dir: str | None = None
    seed: Seed
    refit: Literal["inner", "full"]
    workers: Annotated[int, Field(ge=1, le=256)] | None
    data: Data
    trainer: Trainer
    report: Report
    sampler: Sampler
    pruner: Pruner
    storage: Storage
    tracker: Tracking
    protocol: Annotated[Nested | Holdout | Temporal | External, Field(discriminator="kind")]
    task: TaskBlock
    model: dict[str, ModelBlock] | None = None
    ensemble: Any
    threshold: Any
    worker: Annotated[int, Field(ge=0)] | None = None


class Scored(_Block):
    """Labelled records to score a bundle on."""

    root: Place
    sets: list[SetName] = Field(min_length=1)
    file: Place | None = None


class Evaluation(_Block):
    """The whole of ``evaluate.py``."""

    bundle: Place
    data: Scored
    output: Place | None
    n_bootstrap: Replicates
    seed: Seed
    threads: Threads


class BatchPrediction(_Block):
    """The whole of ``predict.py``."""

    bundle: Place
    input: Place
    output: Place
    threads: Threads
    max_skipped: Annotated[float, Field(ge=0, le=1)]


Checked = TypeVar("Checked", bound=BaseModel)


def checked(blocks: type[Checked], config: Mapping[str, Any]) -> Checked:
    """The configuration as these blocks; ConfigError names the key, its value and what is allowed."""
    try:
        return blocks.model_validate(dict(config))
    except ValidationError as error:
        first = error.errors()[0]
        path = [str(part) for part in first["loc"]]
        if path[0] == "protocol" and len(path) > 1 and path[1] in ("nested", "holdout", "temporal", "file"):
            del path[1]
        if first["type"] == "extra_forbidden":
            raise ConfigError(".".join(path), "unknown key", "--cfg job shows all keys") from None
        got = first["input"]
        shown = "" if isinstance(got, Mapping) else f" (got {got!r})"
        key, remedy = ".".join(path), ""
        if first["type"] == "list_type":
            remedy = f"write {key}=[{got}]"
        raise ConfigError(key, first["msg"][0].lower() + first["msg"][1:] + shown, remedy) from None


def check(config: Mapping[str, Any]) -> Settings:
    """The checked blocks of a search. Raises ConfigError."""
    settings = checked(Settings, config)
    for name in ("sets", "train_sets", "test_sets"):
        check_once(f"data.{name}", getattr(settings.data, name))
    storage = settings.storage
    refuse_password("storage.artifacts", storage.artifacts, ADDRESSES["artifacts_url"])
    refuse_password("storage.checkpoints", storage.checkpoints or "", ADDRESSES["checkpoints_dir"])
    refuse_password("tracker.uri", settings.tracker.uri, ADDRESSES["mlflow_tracking_uri"])
    return settings
