"""Checks a composed configuration before anything runs: keys, those added with a + too, and values.

What is a place becomes one in full here (``core.places``), and nothing behind this door asks again from where
the command was run. Of a finished run's configuration ``placed`` says where its places lie now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo

from ehrbench.app.composed.conf import task_keys
from ehrbench.core import plugins
from ehrbench.core.errors import ConfigError, check_once
from ehrbench.core.places import home, is_address
from ehrbench.infra.mlflow_store import sqlite_address, sqlite_path, tracking_address
from ehrbench.infra.settings import ADDRESSES, refuse_password
from ehrbench.registry.limits import Limits


def _set_name(name: Any) -> Any:
    """A set may be called 2015, which YAML reads as a number."""
    return str(name) if isinstance(name, int) and not isinstance(name, bool) else name


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
    portfolio: bool = True


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
    """Its keys; their values are looked into where they are used, as those of ``Any`` are below.

    A task may have keys of its own that its other blocks refer to; each stands in its YAML.
    """

    model_config = ConfigDict(extra="allow", strict=True)

    name: Name
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
    portfolio: Any = None


class Settings(BaseModel):
    """The blocks that every entry point of a search shares."""

    model_config = ConfigDict(extra="forbid", strict=True)

    n_trials: Annotated[int, Field(ge=1, le=100_000)]
    metric: str
    study_name: Name | None
    runs_dir: Place
    logs_dir: Place | None = None
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
    model: dict[Name, ModelBlock] | None = None
    ensemble: Any
    threshold: Any
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


Checked = TypeVar("Checked", bound=BaseModel)


def checked(
    blocks: type[Checked],
    config: Mapping[str, Any],
    placed: Callable[[Path], Path] = Path.absolute,
    *,
    known: str = "--cfg job shows all keys",
) -> Checked:
    """The configuration as these blocks; ConfigError names the key, its value and what is allowed.

    placed: where a place that the configuration names lies; by default as seen from here. known: where a
    person finds the keys that there are.
    """
    try:
        return blocks.model_validate(dict(config), context={"placed": placed})
    except ValidationError as error:
        first = error.errors()[0]
        path = [str(part) for part in first["loc"] if part != "[key]"]
        if path[0] == "protocol" and len(path) > 1 and path[1] in ("nested", "holdout", "temporal", "file"):
            del path[1]
        got, kind, key = first["input"], first["type"], ".".join(path)
        if kind == "extra_forbidden":
            raise ConfigError(key, "unknown key", known) from None
        if kind == "value_error":
            told = first["ctx"]["error"]
            raise ConfigError(key, told.problem, told.remedy) from None
        if kind == "string_pattern_mismatch":
            problem = f"{str(got)[:100]!r} cannot be a folder's name"
            remedy = f"take letters, digits, . _ and -, at most {LONGEST_NAME}, a letter or digit first"
            raise ConfigError(key, problem, remedy) from None
        shown = "" if isinstance(got, Mapping) else f" (got {got!r})"
        remedy = ""
        if kind == "list_type":
            remedy = f"write {key}=[{got}]"
        if kind == "string_type" and isinstance(got, int | float):
            remedy = f'in a YAML file, write it in quotes: "{got}"'
        raise ConfigError(key, first["msg"][0].lower() + first["msg"][1:] + shown, remedy) from None


def check(config: Mapping[str, Any], placed: Callable[[Path], Path] = Path.absolute) -> Settings:
    """The checked blocks of a search. Raises ConfigError."""
    settings = checked(Settings, config, placed)
    for name in ("sets", "train_sets", "test_sets"):
        check_once(f"data.{name}", getattr(settings.data, name))
    for package in settings.plugins:
        if package not in plugins.packages():
            remedy = f"install it, or say {plugins.NAMED}={package} in the environment"
            raise ConfigError("plugins", f"{package} is no plugin here", remedy)
    storage = settings.storage
    known = task_keys(settings.task.name)
    for key in settings.task.model_extra or {}:
        if key not in known:
            raise ConfigError(f"task.{key}", "unknown key", "--cfg job shows all keys")
    refuse_password("storage.artifacts", storage.artifacts, ADDRESSES["artifacts_url"])
    refuse_password("storage.checkpoints", storage.checkpoints or "", ADDRESSES["checkpoints_dir"])
    place_mlflow(settings, "tracker.mlflow.uri", placed)
    return settings


def place_mlflow(settings: Settings, key: str, placed: Callable[[Path], Path] = Path.absolute) -> None:
    """Spell the address of MLflow out, where it is wanted. Raises ConfigError for one that cannot be."""
    mlflow = settings.tracker.mlflow
    if mlflow is None:
        return
    refuse_password(key, mlflow.uri or "", ADDRESSES["mlflow_tracking_uri"])
    mlflow.uri = tracking_address(mlflow.uri, Path(settings.runs_dir), key)
    if (path := sqlite_path(mlflow.uri)) is not None:
        mlflow.uri = sqlite_address(placed(path))


def recorded(config: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """The configuration as it was checked: its places in full, as a run's config.yaml has them."""
    blocks = settings.model_dump(exclude_unset=True, exclude={"task", "model"})
    return {key: blocks.get(key, value) for key, value in config.items()}
