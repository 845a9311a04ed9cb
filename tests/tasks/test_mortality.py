"""The mortality task: cohorts from files, what is wrong with them, the cache, the simulation."""

from __future__ import annotations

import re
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from ehrbench.core.errors import ConfigError, DataError
from ehrbench.core.records import Payload
from ehrbench.core.task import RawInput
from ehrbench.features.statistics import Statistics
from ehrbench.publishers.physionet2012 import PhysioNet2012
from ehrbench.publishers.physionet2012 import challenge as module
from ehrbench.tasks.mortality import Mortality
from ehrbench.tasks.physionet2012.cleaning import DESCRIPTORS, SERIES, clean, markdown_table
from ehrbench.tasks.raw_files import parse_files
from tests.tasks.texts import OUTCOMES, record_text, write_set


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Two sets of three and two stays in the publisher's layout."""
    a = {i: record_text(i, f"01:00,HR,{60 + i}") for i in (11, 12, 13)}
    write_set(tmp_path / "physionet2012", "a", a, died={12})
    write_set(tmp_path / "physionet2012", "b", {21: record_text(21), 22: record_text(22, "02:00,HR,70")})
    return tmp_path


def test_read_gives_labelled_records(small):
    cohort = PhysioNet2012(Mortality()).read(small, ("a", "b"))
    records = cohort.records
    assert records.ids.tolist() == records.groups.tolist() == ["11", "12", "13", "21", "22"]
    assert records.labels.tolist() == [[0], [1], [0], [0], [0]]
    assert cohort.set_of.tolist() == ["a", "a", "a", "b", "b"]
    assert isinstance(records.payload, Payload)
    assert cohort.label == "publisher"
    assert cohort.flow["records"] == 5
    assert cohort.flow["records without measurements"] == 1
    assert PhysioNet2012(Mortality()).read(small, ("b",)).records.ids.tolist() == ["21", "22"]
    assert PhysioNet2012(Mortality()).read(small, ()).sets == ("a", "b")
    dropped = PhysioNet2012(Mortality(), drop_unmeasured=True).read(small, ("a", "b"))
    assert dropped.records.ids.tolist() == ["11", "12", "13", "22"]
    assert dropped.set_of.tolist() == ["a", "a", "a", "b"]


def test_auxiliary_labels_are_later_deaths_and_long_stays(small):
    """OUTCOMES' columns: no death recorded is alive at every horizon, an unknown stay is unknown."""
    rows = ["11,6,1,5,-1,0", "12,16,8,8,8,1", "13,6,1,-1,100,0"]
    (small / "physionet2012" / "Outcomes-a.txt").write_text(OUTCOMES + "\n".join(rows) + "\n")
    records = PhysioNet2012(Mortality()).read(small, ("a",)).records
    deaths = {days: records.auxiliary[f"death_within_{days}_days"].tolist() for days in (30, 90, 365, 1000)}
    assert deaths == {30: [0, 1, 0], 90: [0, 1, 0], 365: [0, 1, 1], 1000: [0, 1, 1]}
    np.testing.assert_array_equal(records.auxiliary["stay_over_7_days"], [0, 1, np.nan])
    np.testing.assert_array_equal(records.auxiliary["stay_over_14_days"], [0, 0, np.nan])
    assert not records.without_labels().auxiliary
    assert records.take(np.array([2, 1])).auxiliary["death_within_365_days"].tolist() == [1, 1]

    other = PhysioNet2012(Mortality()).read(small, ("a",))
    (small / "physionet2012" / "Outcomes-a.txt").write_text("RecordID,In-hospital_death\n11,0\n12,1\n13,0\n")
    bare = PhysioNet2012(Mortality()).read(small, ("a",))
    assert np.isnan(bare.records.auxiliary_labels).all()
    assert bare.digest != other.digest


def test_read_and_parse_agree(small):
    cohort = PhysioNet2012(Mortality()).read(small, ("a",))
    with tarfile.open(small / "physionet2012" / "set-a.tar.gz") as archive:
        bodies = [archive.extractfile(member).read() for member in archive.getmembers()]
    for i, body in enumerate(bodies):
        parsed = Mortality().parse([RawInput("posted", body)], strict=True)
        assert parsed.records.payload.digests()[0] == cohort.records.payload.digests()[i]


def test_an_extracted_folder_and_files_lying_directly_are_the_same_cohort(small, tmp_path):
    expected = PhysioNet2012(Mortality()).read(small, ("a", "b")).digest
    flat = tmp_path / "flat"
    shutil.copytree(small / "physionet2012", flat)
    for name in "ab":
        with tarfile.open(flat / f"set-{name}.tar.gz") as archive:
            archive.extractall(flat)
        (flat / f"set-{name}.tar.gz").unlink()
    assert PhysioNet2012(Mortality()).read(flat, ("a", "b")).digest == expected


def harm_missing_folder(folder):
    shutil.rmtree(folder.parent)


def harm_missing_set(folder):
    (folder / "set-a.tar.gz").unlink()


def harm_missing_outcomes(folder):
    (folder / "Outcomes-a.txt").unlink()


def harm_truncated(folder):
    path = folder / "set-a.tar.gz"
    path.write_bytes(path.read_bytes()[:-40])


def harm_not_gzip(folder):
    (folder / "set-a.tar.gz").write_bytes(b"<html>sign in</html>" * 50)


def harm_gzip_content(folder):
    path = folder / "set-a.tar.gz"
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 0xFF
    path.write_bytes(body)


def harm_one_outcome_less(folder):
    path = folder / "Outcomes-a.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def harm_one_outcome_more(folder):
    with (folder / "Outcomes-a.txt").open("a") as file:
        file.write("99,6,1,5,-1,0\n")


def harm_repeated_outcome(folder):
    with (folder / "Outcomes-a.txt").open("a") as file:
        file.write("11,6,1,5,-1,0\n")


def harm_outcome_columns(folder):
    (folder / "Outcomes-a.txt").write_text("RecordID,Survival\n11,3\n")


def harm_outcome_value(folder):
    (folder / "Outcomes-a.txt").write_text(OUTCOMES + "11,6,1,5,-1,yes\n")


def harm_outcome_days(folder):
    (folder / "Outcomes-a.txt").write_text(OUTCOMES + "11,6,1,5,soon,0\n")


def harm_outcome_underscore(folder):
    (folder / "Outcomes-a.txt").write_text(OUTCOMES + "11,6,1,1_0,-1,0\n")


def harm_outcome_infinity(folder):
    (folder / "Outcomes-a.txt").write_text(OUTCOMES + "11,6,1,5,inf,0\n")


def harm_outcome_nan(folder):
    (folder / "Outcomes-a.txt").write_text(OUTCOMES + "11,6,1,nan,-1,0\n")


def harm_outcome_width(folder):
    (folder / "Outcomes-a.txt").write_text(OUTCOMES + "11,6,1\n")


def harm_same_record_twice(folder):
    write_set(folder, "b", {11: record_text(11)})


def harm_many_rows(folder):
    write_set(folder, "a", {11: record_text(11, "99:99,HR,80")})


def harm_a_record(folder):
    write_set(folder, "a", {11: record_text(11), 12: b"Time,Value\n"})


def harm_unreadable(folder):
    (folder / "set-a.tar.gz").unlink()
    (folder / "set-a" / "11.txt").mkdir(parents=True)


@pytest.mark.parametrize(
    ("harm", "place", "problem"),
    [
        (harm_missing_folder, "", "no such data folder"),
        (harm_missing_set, "set-a.tar.gz", "set a is not there"),
        (harm_missing_outcomes, "Outcomes-a.txt", "does not exist"),
        (harm_truncated, "set-a.tar.gz", "is truncated"),
        (harm_not_gzip, "set-a.tar.gz", "is damaged"),
        (harm_gzip_content, "set-a.tar.gz", "is damaged|is truncated"),
        (harm_one_outcome_less, "record 13", "has no outcome"),
        (harm_one_outcome_more, "record 99", "has an outcome but is not among the records"),
        (harm_repeated_outcome, "record 11", "line 5 repeats the record"),
        (harm_outcome_columns, "In-hospital_death", "has no column"),
        (harm_outcome_value, "record 11", "'yes' is not 0 or 1"),
        (harm_outcome_days, "Survival", "'soon' is no number of days"),
        (harm_outcome_underscore, "record 11, field Length_of_stay", "'1_0' is no number of days"),
        (harm_outcome_infinity, "record 11, field Survival", "'inf' is no number of days"),
        (harm_outcome_nan, "record 11, field Length_of_stay", "'nan' is no number of days"),
        (harm_outcome_width, "Outcomes-a.txt", "line 2 has 3 columns, not 6"),
        (harm_same_record_twice, "file set-a.tar.gz, set-b.tar.gz, record 11", "stands twice"),
        (
            harm_many_rows,
            "Time in line 8",
            "'99:99' is not a time HH:MM; faulty rows: 1 of 20, lost records: 0 of 3",
        ),
        (harm_unreadable, "11.txt", r"cannot be read \(Is a directory\)"),
        (harm_a_record, "12.txt", "does not begin with Time,Parameter,Value"),
    ],
)
def test_bad_files_are_named(small, harm, place, problem):
    harm(small / "physionet2012")
    with pytest.raises(DataError, match=problem) as raised:
        PhysioNet2012(Mortality()).read(small, ("a", "b"))
    assert place in str(raised.value)
    assert raised.value.remedy
    assert "\n" not in str(raised.value)
    assert not isinstance(raised.value.__cause__, DataError)


def test_a_few_bad_rows_are_skipped_and_listed(tmp_path):
    many = [f"{h:02d}:{m:02d},HR,80" for h in range(40) for m in range(60)]
    write_set(tmp_path, "a", {11: record_text(11, *many, "40:00,HR,fast")}, died={11})
    cohort = PhysioNet2012(Mortality()).read(tmp_path, ("a",))
    assert [(s.file, s.record, s.field) for s in cohort.skipped] == [
        ("set-a.tar.gz/11.txt", "11", "Value in line 2408")
    ]
    assert cohort.flow["rows skipped"] == 1
    assert PhysioNet2012(Mortality()).read(tmp_path, ("a",)).skipped == cohort.skipped, "also from the cache"


def test_the_publishers_rows_without_a_parameter_stop_nothing(tmp_path):
    write_set(tmp_path, "a", {11: record_text(11, "47:05,,2.5")}, died={11})
    assert [s.problem for s in PhysioNet2012(Mortality()).read(tmp_path, ("a",)).skipped] == [
        "empty parameter name"
    ]


def test_faults_name_the_record_that_the_file_holds():
    body = record_text(11, "01:00,HR,fast")
    with pytest.raises(DataError) as raised:
        Mortality().parse([RawInput("export-3.txt", body)], strict=True)
    assert (raised.value.file, raised.value.record) == ("export-3.txt", "11")
    nameless = body.replace(b"RecordID", b"Record")
    assert {
        s.record for s in Mortality().parse([RawInput("export-3.txt", nameless)], strict=False).skipped
    } == {"export-3"}


def test_an_unknown_set_is_named(small):
    with pytest.raises(ConfigError, match=r"data.sets: 'd' is no set"):
        PhysioNet2012(Mortality()).read(small, ("a", "d"))


def test_the_cache_gives_the_same_cohort_without_parsing(small, monkeypatch):
    first = PhysioNet2012(Mortality()).read(small, ("a", "b"))
    table = first.records.rows("k", Statistics().rows)
    monkeypatch.setattr(module, "parse_patients", None)
    second = PhysioNet2012(Mortality()).read(small, ("a", "b"))
    assert second.digest == first.digest
    assert second.flow == first.flow
    assert second.set_of.tolist() == first.set_of.tolist()
    np.testing.assert_array_equal(second.records.rows("k", Statistics().rows).values, table.values)


def test_the_cache_sees_every_change(small, monkeypatch):
    seen = []
    real = module.parse_patients
    monkeypatch.setattr(module, "parse_patients", lambda *a, **k: seen.append(1) or real(*a, **k))
    PhysioNet2012(Mortality()).read(small, ("a",))
    PhysioNet2012(Mortality()).read(small, ("a",))
    assert len(seen) == 1
    PhysioNet2012(Mortality(hours=24)).read(small, ("a",))
    assert len(seen) == 2
    PhysioNet2012(Mortality()).read(small, ("b",))
    assert len(seen) == 3
    write_set(small / "physionet2012", "a", {11: record_text(11, "01:00,HR,99")})
    changed = PhysioNet2012(Mortality()).read(small, ("a",))
    assert len(seen) == 4
    assert changed.records.payload.value.tolist() == [99]
    monkeypatch.setattr(module, "source_digest", lambda *paths: "other code")
    PhysioNet2012(Mortality()).read(small, ("a",))
    assert len(seen) == 5
    PhysioNet2012(Mortality(), cache=False).read(small, ("a",))
    PhysioNet2012(Mortality(), cache=False).read(small, ("a",))
    assert len(seen) == 7


def test_outcomes_are_read_anew(small):
    PhysioNet2012(Mortality()).read(small, ("a",))
    path = small / "physionet2012" / "Outcomes-a.txt"
    path.write_text(path.read_text().replace("11,6,1,5,-1,0", "11,6,1,5,-1,1"))
    assert PhysioNet2012(Mortality()).read(small, ("a",)).records.labels[0, 0] == 1


def test_without_the_variable_the_cache_lies_beside_the_files(small, monkeypatch):
    monkeypatch.delenv("EHRBENCH_CACHE")
    PhysioNet2012(Mortality()).read(small, ("a",))
    assert list((small / "physionet2012" / ".cache").glob("mortality-*/records/index.json"))
    monkeypatch.setattr("os.access", lambda path, mode: False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(small / "home"))
    PhysioNet2012(Mortality()).read(small, ("a",))
    assert list((small / "home" / "ehrbench").glob("mortality-*/records/index.json"))


def test_raw_records_come_as_a_file_a_folder_or_an_archive(small, tmp_path):
    def read(path):
        return parse_files(Mortality(), path)

    folder = tmp_path / "raw"
    with tarfile.open(small / "physionet2012" / "set-a.tar.gz") as archive:
        archive.extractall(folder)
    by_folder = read(folder / "set-a")
    by_archive = read(small / "physionet2012" / "set-a.tar.gz")
    assert by_folder.records.ids.tolist() == by_archive.records.ids.tolist() == ["11", "12", "13"]
    assert by_folder.records.target is None
    assert read(folder / "set-a" / "12.txt").records.ids.tolist() == ["12"]
    with pytest.raises(DataError, match="does not exist"):
        read(folder / "13.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=re.escape("holds no .txt records")):
        read(tmp_path / "empty")


def test_simulated_cohort_is_read_by_the_real_reader_and_labelled(simulated):
    cohort = PhysioNet2012(Mortality()).read(simulated, ("a", "b"))
    assert cohort.label == "simulated"
    assert len(cohort.records) == 120
    assert cohort.skipped == ()
    assert 5 <= cohort.records.labels.sum() <= 40
    present = np.zeros(len(SERIES), dtype=int)
    for i in range(len(SERIES)):
        present[i] = (cohort.records.payload.parameter == i).sum()
    assert (present[[m.name not in ("Cholesterol", "TroponinI") for m in SERIES]] > 0).all()


def test_simulation_gives_the_same_bytes_for_a_seed(tmp_path):
    for name, seed in (("one", 3), ("two", 3), ("three", 4)):
        PhysioNet2012(Mortality()).simulate(tmp_path / name, 6, seed)
    files = sorted(p.name for p in (tmp_path / "one" / "physionet2012").iterdir())
    assert files == ["Outcomes-a.txt", "Outcomes-b.txt", "SIMULATED", "set-a.tar.gz", "set-b.tar.gz"]

    def content(name):
        return [(tmp_path / name / "physionet2012" / file).read_bytes() for file in files]

    assert content("one") == content("two")
    assert content("one") != content("three")


def test_simulation_never_overwrites_real_files(small):
    before = (small / "physionet2012" / "set-a.tar.gz").read_bytes()
    with pytest.raises(DataError, match="not simulated"):
        PhysioNet2012(Mortality()).simulate(small, 10, seed=1)
    assert (small / "physionet2012" / "set-a.tar.gz").read_bytes() == before
    with pytest.raises(ConfigError, match="n_records"):
        PhysioNet2012(Mortality()).simulate(small, 1, seed=1)


def test_documentation_shows_the_tables_as_they_are():
    text = (Path(__file__).parents[2] / "docs" / "tasks" / "mortality.md").read_text()
    for measures in (SERIES, DESCRIPTORS):
        assert markdown_table(measures) in text, (
            "put cleaning.markdown_table(...) into docs/tasks/mortality.md"
        )


def test_cleaning_mends_only_what_is_out_of_range():
    code = {m.name: i for i, m in enumerate(SERIES)}
    cases = [
        *[("Temp", 98.6, 37.0), ("Temp", 37.0, 37.0), ("Temp", -17.8, None), ("Temp", 0, None)],
        *[("pH", 735, 7.35), ("pH", 73.5, 7.35), ("pH", 7.35, 7.35), ("pH", 3, None)],
        *[("FiO2", 40, 0.4), ("FiO2", 1, 1), ("HR", 0, None), ("HR", 80, 80), ("GCS", 2, None)],
        *[("WBC", 12500, 12.5), ("WBC", 400, 400), ("MechVent", 0, None), ("Weight", -1, None)],
        *[("Urine", 0, 0), ("Urine", 19990, None)],
    ]
    cleaned = clean(np.array([c[1] for c in cases], float), np.array([code[c[0]] for c in cases]), SERIES)
    for (name, raw, expected), value, believed in zip(cases, cleaned.value, cleaned.believed, strict=True):
        assert believed == (expected is not None), (name, raw)
        if expected is not None:
            assert value == pytest.approx(expected), (name, raw)
    assert cleaned.mended.sum() == 5
    heights = clean(np.array([431.8, 170, 1.7, 13, -1]), np.full(5, 2), DESCRIPTORS)
    assert heights.value[:3] == pytest.approx([170, 170, 170])
    assert heights.believed.tolist() == [True, True, True, False, False]


def test_every_mend_lands_in_the_believed_range_and_starts_outside_it():
    for measure in (*SERIES, *DESCRIPTORS):
        assert measure.low <= measure.high
        assert measure.reason
        for mend in measure.mends:
            assert mend.high < measure.low or mend.low > measure.high
            for end in (mend.low, mend.high):
                assert measure.low - 1e-6 <= end * mend.factor + mend.offset <= measure.high + 1e-6, (
                    measure.name
                )
