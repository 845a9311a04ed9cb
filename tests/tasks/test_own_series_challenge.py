"""The challenge's files, read as a person's own series, are the records of task mortality."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ehrbench.core.task import Cohort
from ehrbench.features.irregular import Irregular
from ehrbench.features.statistics import Statistics
from ehrbench.publishers.own_series_files import OwnSeriesFiles
from ehrbench.publishers.physionet2012 import PhysioNet2012
from ehrbench.tasks.mortality import Mortality
from ehrbench.tasks.own_series import OwnSeries
from ehrbench.tasks.physionet2012.cleaning import DESCRIPTORS, SERIES, TOTALS
from ehrbench.tasks.raw_files import read_raw_files
from tests.tasks.small_series import LONG


def long_form(root: Path, folder: Path, sets: tuple[str, ...]) -> dict[str, str]:
    """The challenge's published files as a newcomer would turn them: rows as they are, labels beside."""
    task = Mortality()
    rows, patients, labels = [LONG[0]], [f"id,{','.join(m.name for m in DESCRIPTORS)}"], ["id,death"]
    for name in sets:
        where = root / "physionet2012"
        for raw in read_raw_files(where / f"set-{name}.tar.gz", task.forms, "").inputs:
            who, described = raw.name.rsplit("/", 1)[-1].removesuffix(".txt"), {}
            for line in bytes(raw.body).decode().splitlines()[1:]:  # type: ignore[arg-type]
                time, variable, value = line.split(",")
                if (
                    time == "00:00"
                    and any(variable == m.name for m in DESCRIPTORS)
                    and variable not in described
                ):
                    described[variable] = value
                elif variable not in ("RecordID", ""):
                    rows.append(f"{who},{line}")
            patients.append(",".join([who, *(described.get(m.name, "") for m in DESCRIPTORS)]))
        for line in (where / f"Outcomes-{name}.txt").read_text().splitlines()[1:]:
            labels.append(f"{line.split(',')[0]},{line.split(',')[-1]}")
    for file, lines in (("long", rows), ("patients", patients), ("labels", labels)):
        (folder / f"{file}.csv").write_text("\n".join(lines) + "\n")
    return {
        "file": str(folder / "long.csv"),
        "labels": str(folder / "labels.csv"),
        "descriptors": str(folder / "patients.csv"),
    }


def both(root: Path, folder: Path, sets: tuple[str, ...]) -> tuple[Cohort, Cohort]:
    """The challenge's files by their publisher, and as a newcomer's."""
    files = long_form(root, folder, sets)
    ranges = {m.name: (m.low, m.high) for m in (*DESCRIPTORS, *SERIES)}
    series = OwnSeriesFiles(OwnSeries(label="death", ranges=ranges, totals=TOTALS), **files)
    series.settle(folder)
    expected, found = PhysioNet2012(Mortality(), cache=False).cohort(root, sets), series.cohort(folder, ())
    assert found.records.ids.tolist() == expected.records.ids.tolist()
    np.testing.assert_array_equal(found.records.labels, expected.records.labels)
    return expected, found


def test_the_challenges_files_in_long_form_are_mortalitys_records(tmp_path: Path) -> None:
    """Equal to the last bit, so every model and figure is the same; what mortality mends is not believed."""
    PhysioNet2012(Mortality(), cache=False).simulate(tmp_path, 120, seed=5)
    expected, found = both(tmp_path, tmp_path, ("a", "b"))
    for featurizer in (Statistics(hours=48), Irregular()):
        one, other = (featurizer.rows(cohort.records.without_labels()) for cohort in (found, expected))
        for name, array in other.arrays().items():
            np.testing.assert_array_equal(one.arrays()[name], array)
    assert found.records.digests.tolist() == expected.records.digests.tolist()


@pytest.mark.data
def test_of_the_published_files_a_few_records_are_others(data: Path, tmp_path: Path) -> None:
    """Those in which mortality mends a slipped height, pH or count: 12 of 8,000 in sets a and b."""
    expected, found = both(data, tmp_path, ("a",))
    other = found.records.digests != expected.records.digests
    assert 0 < other.sum() <= 10
    values = [
        Statistics(hours=48).rows(c.records.without_labels()).arrays()["values"] for c in (found, expected)
    ]
    same = (values[0] == values[1]) | np.isnan(values).all(axis=0)
    assert same[~other].all()
    assert (~same).sum() < 1e-5 * same.size
