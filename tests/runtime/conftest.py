from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ehrbench.core.records import Records
from tests.runtime import toy
from tests.runtime.building import Recipe, build_bundle, export_linear, export_network, export_trees


def cohort(kind: str, n: int = 120) -> tuple[Records, np.ndarray]:
    """N records of 1 to 3 units, a tenth of the numbers missing, and labels that depend on them."""
    rng = np.random.default_rng(1)
    rows = [rng.normal(size=(int(k), 3)).astype(np.float32) for k in rng.integers(1, 4, n)]
    whole = np.concatenate(rows)
    noisy = whole + rng.normal(size=whole.shape)
    y = {
        "binary": noisy[:, :1] > 0.3,
        "multilabel": noisy[:, :2] > 0.3,
        "multiclass": noisy == noisy.max(axis=1, keepdims=True),
    }[kind].astype(np.float64)
    for row in rows:
        row[rng.random(row.shape) < 0.1] = np.nan
    return toy.toy_records(rows), y


def toy_bundle(
    directory: Path,
    kind: str,
    cohort_label: str = "publisher",
    models: Sequence[str] = ("trees", "line", "net"),
) -> Path:
    toy.install()
    records, y = cohort(kind)
    trees = (export_trees, toy.ToyTable, toy.TABLE)
    recipes: dict[str, list[Recipe]] = {
        "trees": [trees, trees],
        "line": [(export_linear, lambda: toy.ToyTable(complete=True), toy.TABLE)],
        "net": [(export_network, toy.ToySequence, toy.SEQUENCE)],
    }
    return build_bundle(
        directory,
        task=toy.Toy(kind),
        task_path=toy.TASK,
        task_settings={"kind": kind},
        records=records,
        y=y,
        models={name: recipes[name] for name in models},
        cohort=cohort_label,
    )


@pytest.fixture(scope="session", params=["binary", "multilabel", "multiclass"])
def any_bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of each target kind; not to be changed."""
    return toy_bundle(tmp_path_factory.mktemp("bundles") / request.param, request.param)


@pytest.fixture(scope="session")
def _binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_bundle(tmp_path_factory.mktemp("bundles") / "binary", "binary")


@pytest.fixture
def bundle_dir(_binary: Path, tmp_path: Path) -> Path:
    """A binary bundle of its own, to be damaged at will."""
    return Path(shutil.copytree(_binary, tmp_path / "bundle"))
