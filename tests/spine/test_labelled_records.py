"""What no task may give a search is said before its first fit: ids not a record's own, odd labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ehrbench.app.runs import scoring
from ehrbench.app.search import searching
from ehrbench.core.errors import DataError
from ehrbench.core.target import Target
from ehrbench.core.task import Cohort
from tests.spine import tiny
from tests.spine.composing import tiny_config
from tests.spine.test_folds import cohort

ONE = Target("binary", ("death",))
#: Fields of ten records -> what is wrong with them.
WRONG: list[tuple[dict[str, Any], str]] = [
    (
        {"ids": ["r0", "r1", "r2", "r1", "r4", "r5", "r0", "r7", "r8", "r9"]},
        r"^file data, record r1: stands twice, as number 2 and 4 of the records read \(2 of 10 repeat "
        r"another's id\) — give every record an id of its own, or keep one of them$",
    ),
    ({"ids": ["a", "", *"cdefghij"]}, "record number 2 of those read has no id — give every record its id"),
    ({"groups": [*"abcdefghi", ""]}, "record number 10 of those read has no group — give every record its"),
    ({"target": None}, "the records have no labels — give their outcomes"),
    (
        {"target": [[1], [2]] * 5},
        r"record r1, field death: 2 is neither 0 nor 1, as of 5 of 10 units \(labels found: 1, 2\) — code",
    ),
    (
        {"target": [[0], [1], [np.inf], *[[0]] * 7]},
        "record r2, field death: inf is neither 0 nor 1, as of 1 of",
    ),
    ({"target": [[0, 1]] * 10}, r"labels have shape \(10, 2\), not \(units, 1\)"),
    (
        {"auxiliary": {"late": np.array([0, 1, -1, *[np.nan] * 7])}},
        r"record r2, field auxiliary.late: -1 is neither 0 nor 1",
    ),
]


@pytest.mark.parametrize(("fields", "message"), WRONG)
def test_the_first_record_that_is_wrong_is_named(fields, message):
    records = replace(cohort(10, 10, 0), target=np.array([[0.0], [1.0]] * 5))
    Cohort(records, ("s",)).check(ONE, "data")
    arrays = {name: np.array(x, dtype=float) if name == "target" and x else x for name, x in fields.items()}
    arrays |= {name: np.array(x) for name, x in arrays.items() if isinstance(x, list)}
    with pytest.raises(DataError, match=message):
        Cohort(replace(records, **arrays), ("s",)).check(ONE, "data")


def test_a_unit_of_several_classes_is_named():
    three = Target("multiclass", ("a", "b", "c"))
    y = np.eye(3)[[0, 1, 2, 0]]
    three.check_labels(y)
    y[2, 0], y[3] = 1, np.nan
    with pytest.raises(DataError, match=r"record p2: belongs to no class or to several, as do 1 of 4 units"):
        three.check_labels(y, None, np.array(["p0", "p1", "p2", "p3"]))


def spoil(patch: pytest.MonkeyPatch, **fields: Any) -> None:
    """The tiny task with these fields of its records in the place of its own."""
    read = tiny.TinyPublisher.read

    def spoiled(self, *arguments: Any) -> Cohort:
        found = read(self, *arguments)
        return replace(
            found,
            records=replace(found.records, **{k: f(found.records) for k, f in fields.items()}),
        )

    patch.setattr(tiny.TinyPublisher, "read", spoiled)


def searched(folder: Path, *overrides: str) -> None:
    searching.search(tiny_config("beats", folder, "models=[logistic]", "report.explained=0", *overrides))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ids": lambda r: np.r_[r.ids[:-1], r.ids[:1]]}, "record s0: stands twice, as number 1 and 240 of"),
        (
            {"target": lambda r: r.labels + 1},
            r"record s0, field death: 2 is neither 0 nor 1, .* found: 1, 2\)",
        ),
        (
            {"target": lambda r: r.labels * 0},
            "only negative units; 0 of all .* — give records of both classes",
        ),
    ],
)
def test_a_search_is_refused_before_its_first_fit(fields, message, tmp_path, monkeypatch):
    spoil(monkeypatch, **fields)
    with pytest.raises(DataError, match=message) as refused:
        searched(tmp_path / "runs")
    assert "fewer folds" not in str(refused.value)
    assert not (tmp_path / "runs").exists()


def test_an_evaluation_is_refused_likewise(tmp_path, monkeypatch):
    searched(tmp_path, "study_name=s", "n_trials=1")
    spoil(monkeypatch, ids=lambda r: np.r_[r.ids[:-1], r.ids[:1]])
    config = {
        "bundle": tmp_path / "s" / "bundle",
        "data": {"root": ".", "sets": ["t"]},
        "output": tmp_path / "e",
    }
    with pytest.raises(DataError, match="record t0: stands twice"):
        scoring.evaluate_bundle({**config, "n_bootstrap": 100, "seed": 0, "threads": 1})
