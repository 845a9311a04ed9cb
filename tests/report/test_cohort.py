"""Table 1: outcomes of all records whose label is known, and no 0 % where none is."""

from dataclasses import replace

import numpy as np
import pytest

from ehrbench.report import write_report
from ehrbench.report.cohort import cohort_table
from ehrbench.statistics.subgroups import in_order


@pytest.fixture
def holdout(binary):
    """The run as if its first fold alone had been tested: set b, the others in set a for training."""
    tested = np.isin(np.arange(len(binary.records)), binary.folds[0].record)
    records = binary.records.assign(set=np.where(tested, "b", "a"))
    return replace(binary, records=records, folds=binary.folds[:1])


def rows(run) -> dict[str, object]:
    return {row.level: row for row in cohort_table(run) if row.family == "set"}


def test_outcomes_of_training_records_are_those_of_the_table(holdout):
    n = len(holdout.records)
    outcome = np.where(np.arange(n) % 4 == 0, "1", "0")
    outcome[:3] = ""
    found = rows(replace(holdout, records=holdout.records.assign(**{"outcome.death": outcome})))
    (death,) = holdout.target.classes
    for level, row in found.items():
        inside = (holdout.records["set"] == level).to_numpy()
        known = inside & (outcome != "")
        count = int((inside & (outcome == "1")).sum())
        assert row.with_outcome[death] == (count, pytest.approx(count / known.sum()))
    assert found["a"].parts == (1.0, 0.0)
    assert found["b"].parts == (0.0, 1.0)


def test_of_records_with_many_units_the_units_are_counted(holdout):
    n = len(holdout.records)
    positive, known = np.arange(n) % 3, np.arange(n) % 5 + 2
    columns = {"outcome.death": positive.astype(str), "labelled.death": known.astype(str)}
    found = rows(replace(holdout, records=holdout.records.assign(**columns)))
    for level, row in found.items():
        inside = (holdout.records["set"] == level).to_numpy()
        share = positive[inside].sum() / known[inside].sum()
        assert row.with_outcome["death"] == (positive[inside].sum(), pytest.approx(share))


def test_an_older_run_knows_no_outcome_of_training_records(holdout):
    (death,) = holdout.target.classes
    old = replace(holdout, records=holdout.records[[c for c in holdout.records if "outcome." not in c]])
    found = rows(old)
    assert found["a"].with_outcome[death] == (0, None)
    assert found["b"].with_outcome[death][1] == pytest.approx(np.nanmean(holdout.folds[0].y))


def test_levels_stand_in_their_own_order():
    bands = ["85 and over", "unknown", "40-54", "under 40", "75-84"]
    assert in_order(bands) == ["under 40", "40-54", "75-84", "85 and over", "unknown"]
    assert in_order(["surgical", "medical", "surgical"]) == ["medical", "surgical"]
    assert in_order(["10", "9", "≤ 5"]) == ["≤ 5", "9", "10"]


def test_all_records_tested_need_no_parts(binary_folder):
    assert "of outer test</th>" not in write_report(binary_folder, n_bootstrap=20).read_text()
