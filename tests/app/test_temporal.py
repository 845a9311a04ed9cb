"""``protocol=temporal``: trained before a day, tested from it on, on both kinds of a person's own files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ehrbench.app.command.cli import main
from ehrbench.app.composed.checking import check
from ehrbench.app.wired.building import build_publisher, build_task
from ehrbench.app.wired.splitting import read_and_split
from ehrbench.core.errors import ConfigError
from ehrbench.core.progress import SILENT
from ehrbench.core.task import Cohort
from ehrbench.spine.folds import Split
from tests.app.processes import SMALL, run
from tests.spine.composing import composed
from tests.tasks.own_data import series, table

#: Of every record, two of a patient: the first was admitted in 2019, the second, of odd ones, in 2020.
N, BEFORE = 160, "2020-01-01"
#: One in twenty has no known day.
UNKNOWN = 20


def admitted(i: int) -> str:
    if i % UNKNOWN == UNKNOWN - 1:
        return ""
    late = i % 4 == 1 or i >= N - 40
    return f"{2020 if late else 2019}-{1 + i % 12:02d}-{1 + i % 28:02d}"


def own_table(folder: Path) -> list[str]:
    path = Path(table(folder, N, 3)["publisher"]["file"])
    return ["task=table", "task.id=row", f"data.file={_with_days(path)}"]


def own_series(folder: Path) -> list[str]:
    files = series(folder, N, 3)["publisher"]
    _with_days(Path(files["labels"]))
    return ["task=series", "task.horizon_hours=96", *(f"data.{key}={path}" for key, path in files.items())]


def _with_days(path: Path) -> Path:
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([f"{head},admitted", *(f"{row},{admitted(i)}" for i, row in enumerate(rows))]))
    return path


SETTINGS = ["task.label=died", "task.group=patient", "task.time=admitted", "protocol=temporal"]


def split_of(config: dict[str, Any]) -> tuple[Cohort, Split]:
    settings = check(config)
    publisher = build_publisher(config["task"]["publisher"], build_task(config["task"]["build"]))
    publisher.settle(Path(settings.data.root))
    return read_and_split(publisher, settings, SILENT)


@pytest.mark.parametrize("own", [own_table, own_series])
def test_who_came_before_trains_and_who_came_later_tests(own, tmp_path: Path) -> None:
    """A patient who came before and later is tested only; inner folds keep a patient's records together."""
    config = composed(tmp_path, *own(tmp_path / "own"), *SETTINGS, f"protocol.before={BEFORE}")
    cohort, split = split_of(config)
    (fold,) = split.outer
    ids, groups = cohort.records.ids, cohort.records.groups
    day = {str(name): admitted(int(name[1:])) for name in ids}
    late = {name for name, text in day.items() if text >= BEFORE}
    early = {name for name, text in day.items() if "" < text < BEFORE}
    assert set(ids[fold.test].tolist()) == late
    tested = set(groups[fold.test].tolist())
    both = {str(name) for name, group in zip(ids, groups, strict=True) if group in tested} & early
    assert set(ids[fold.train].tolist()) == early - both
    assert min(len(both), len(fold.train), len(fold.test)) > 20
    assert split.label.startswith(f"temporal, before {BEFORE} -> after")
    assert f"{len(both)}" in split.label
    for inner in fold.inner:
        assert not set(groups[inner.train].tolist()) & set(groups[inner.valid].tolist())
        assert set(ids[inner.train].tolist()) | set(ids[inner.valid].tolist()) <= early - both
    np.testing.assert_array_equal(np.sort(np.concatenate([i.valid for i in fold.inner])), np.sort(fold.train))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["protocol.before=spring"], "protocol.before: 'spring' is no day — write it as 2020-12-31"),
        (
            ["protocol.before=1999-01-01"],
            r"protocol.before: no record is before 1999-01-01 — choose a day between 2019-01-01 and 2020-\d",
        ),
        (["protocol.before=2031-01-01"], "protocol.before: no record is on or after 2031-01-01"),
        (
            ["protocol.before=2020-01-01", "task.time=null"],
            "protocol: .* have no time — say task.time=COLUMN",
        ),
        (
            ["protocol.before=2020-01-01", "task.time=discharged"],
            "task.time: no table has a column 'discharged'",
        ),
    ],
)
def test_a_day_that_cannot_part_them_is_named(arguments: list[str], said: str, tmp_path: Path) -> None:
    config = composed(tmp_path, *own_series(tmp_path / "own"), *SETTINGS, *arguments)
    with pytest.raises(ConfigError, match=said):
        split_of(config)


def test_own_series_are_searched_from_before_to_after(tmp_path: Path) -> None:
    """By one command to a bundle, a page that says how it was split, and a certificate that is clean."""
    files = own_series(tmp_path / "own")
    quick = [*SMALL, *SETTINGS, f"protocol.before={BEFORE}", "protocol.inner_folds=2", "n_trials=1"]
    more = ["report.n_bootstrap=100", f"runs_dir={tmp_path}", "study_name=s"]
    code, output = run("search.py", *files, *quick, *more, data=tmp_path)
    assert code == 0, output
    summary = json.loads((tmp_path / "s" / "summary.json").read_text())
    assert summary["models"]["logistic"]["auroc"]["mean"] > 0.6
    assert f"temporal, before {BEFORE} -&gt; after" in (tmp_path / "s" / "report.html").read_text()
    predicted = (tmp_path / "s" / "predictions.csv").read_text().splitlines()[1:]
    names = {name for line in predicted for name in line.split(",") if name[:1] == "s" and name[1:].isdigit()}
    assert names == {f"s{i}" for i in range(N) if admitted(i) >= BEFORE}
    assert (tmp_path / "s" / "bundle" / "manifest.json").is_file()
    assert main(["certify", str(tmp_path / "s")]) == 0
