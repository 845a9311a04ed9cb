"""What every task promises (``core.task``), for each YAML of ``conf/task``, on a cohort it simulates."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ehrbench import metrics
from ehrbench.app.composed.conf import task_names
from ehrbench.app.wired.building import build, build_publisher, build_task
from ehrbench.core.errors import DataError
from ehrbench.core.featurizer import Featurizer
from ehrbench.core.task import Cohort, Publisher, RawInput, Task
from ehrbench.tasks.names import NAME_SCHEMA
from ehrbench.tasks.raw_files import parse_files
from tests.tasks.configured import configuration, settled
from tests.tasks.own_data import OWN

every_task = pytest.mark.parametrize("name", task_names())
#: Those whose files somebody publishes: they are simulated in the publisher's form.
every_published = pytest.mark.parametrize("name", [name for name in task_names() if name not in OWN])


def task_of(name: str) -> Task:
    return build_task(configuration(name)["build"])


def publisher_of(name: str) -> Publisher:
    return build_publisher(configuration(name)["publisher"], task_of(name))


def simulated(name: str, root: Path, n_records: int = 60) -> Cohort:
    publisher = settled(name, root, n_records)
    if name not in OWN:
        publisher.simulate(root, n_records, seed=3)
    return publisher.read(root, publisher.default_sets())


@every_published
def test_its_yaml_says_what_its_class_does(name: str) -> None:
    config, task = configuration(name), task_of(name)
    assert set(config) - {"defaults"} == {
        "name",
        "metric",
        "sets",
        "train_sets",
        "test_sets",
        "build",
        "publisher",
        "views",
    }
    assert (config["name"], config["metric"], tuple(config["sets"])) == (
        name,
        task.metric,
        publisher_of(name).default_sets(),
    )
    assert task.name == name
    assert {task.metric, *task.metrics} <= set(metrics.names())
    assert not set(config["train_sets"]) & set(config["test_sets"])


@every_published
def test_a_simulated_cohort_is_read_labelled_and_called_simulated(name: str, tmp_path: Path) -> None:
    cohort, task = simulated(name, tmp_path), task_of(name)
    records = cohort.records
    assert cohort.label == "simulated"
    assert len(records) == 60
    assert len(set(records.ids.tolist())) == 60
    task.target.check_labels(records.labels)
    assert (np.nansum(records.labels, axis=0) > 0).all()
    publisher = publisher_of(name)
    assert publisher.read(tmp_path, publisher.default_sets()).digest == cohort.digest
    assert all(levels.dtype.kind == "U" for levels in records.subgroups.values())


@every_published
def test_simulation_never_writes_over_a_publishers_files(name: str, tmp_path: Path) -> None:
    simulated(name, tmp_path)
    (mark,) = tmp_path.rglob("SIMULATED")
    mark.unlink()
    publisher = publisher_of(name)
    assert publisher.read(tmp_path, publisher.default_sets()).label == "publisher"
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(DataError, match="—"):
        publisher.simulate(tmp_path, 30, seed=4)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@every_task
def test_text_json_and_file_of_its_example_are_one_record(name: str, tmp_path: Path) -> None:
    """As the server takes it, twice in one request, and as ``predict.py`` reads it; never with a label."""
    task = settled(name, tmp_path / "own").task
    text, posted = task.example(), RawInput("posted", task.raw_schema()["examples"][0])
    assert isinstance(text.body, bytes)
    (tmp_path / text.name).write_bytes(text.body)
    found = [
        task.parse([text], strict=True),
        task.parse([posted], strict=True),
        task.parse([text], strict=False),
        parse_files(task, tmp_path / text.name),
    ]
    assert [(len(one.records), one.skipped, one.n_lost) for one in found] == [(1, (), 0)] * 4
    assert all(one.records.target is None and not one.records.auxiliary for one in found)
    together = task.parse([posted, text], strict=True).records.payload.digests()
    assert {*(str(one.records.payload.digests()[0]) for one in found), *map(str, together)} == {
        str(together[0])
    }


@every_task
def test_what_is_no_record_is_refused_by_the_server(name: str, tmp_path: Path) -> None:
    task = settled(name, tmp_path).task
    for body in (b"", b"\xff\xfe\x00", b"hello, world\n1,2\n", {"hello": "world"}, {}):
        with pytest.raises(DataError, match="—"):
            task.parse([RawInput("odd", body)], strict=True)


@every_published
def test_without_its_files_it_says_what_to_do(name: str, tmp_path: Path) -> None:
    publisher = publisher_of(name)
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match="—"):
            publisher.read(root, publisher.default_sets())


@every_task
def test_it_describes_each_record(name: str, tmp_path: Path) -> None:
    """One row a record, the same in any company, with as many names as columns."""
    records, task = simulated(name, tmp_path).records, settled(name, tmp_path).task
    table = task.describe(records)
    assert table.values.shape == (len(records), len(table.names))
    assert len(set(table.names)) == len(table.names)
    np.testing.assert_array_equal(task.describe(records.take(np.array([7]))).values, table.values[[7]])
    assert len(task.describe(task.parse([task.example()], strict=True).records)) == 1


@every_task
def test_every_view_is_made_of_training_records_and_of_the_example(name: str, tmp_path: Path) -> None:
    records, task = simulated(name, tmp_path).records, settled(name, tmp_path).task
    example = task.parse([task.example()], strict=True).records
    for view_name, settings in configuration(name)["views"].items():
        featurizer = build(settings, view_name)
        assert isinstance(featurizer, Featurizer)
        train, one = featurizer.fit(records).transform(records), featurizer.transform(example)
        assert one.ports() == train.ports()
        for view, of in ((train, records), (one, example)):
            assert len(view) == (of.total_units if view.per == "unit" else len(of))
            counts = view.unit_counts()
            assert counts is None or counts.tolist() == of.n_units.tolist()
        for array in one.arrays().values():
            assert view_name == "table" or np.isfinite(array).all()


@every_task
def test_its_units_are_of_what_is_there(name: str, tmp_path: Path) -> None:
    records, task = simulated(name, tmp_path).records, settled(name, tmp_path).task
    known = {*records.subgroups}
    if "table" in (views := configuration(name)["views"]):
        featurizer = build(views["table"], "table")
        table = featurizer.rows(records)
        known |= {*table.names, *table.parameter_of.values()}
        assert all(isinstance(featurizer.unit(column, task.units), str) for column in table.names)
    assert set(task.units) <= known


def names_of(task: Task) -> list[str]:
    """The fields of its JSON form that name a record."""
    fields = task.raw_schema()["properties"].items()
    pattern = NAME_SCHEMA["pattern"]
    return [field for field, schema in fields if field == "record_id" or schema.get("pattern") == pattern]


def posted(task: Task, **changes: Any) -> RawInput:
    return RawInput("posted", {**task.raw_schema()["examples"][0], **changes})


NO_NAMES: list[Any] = ["x" * 129, "x" * 2_000_000, "a\0", "a\nb", "\x7f", "\x85", "\ud800"]
NO_NAMES += [True, 1.5, [1, 2], {"a": 1}, 10**128, -(10**128)]


@every_task
@pytest.mark.parametrize("given", NO_NAMES, ids=lambda given: repr(given)[:20])
def test_what_is_no_name_is_refused_by_its_field(name: str, given: Any, tmp_path: Path) -> None:
    task = settled(name, tmp_path).task
    assert names_of(task)
    for field in names_of(task):
        with pytest.raises(DataError, match="—") as raised:
            task.parse([posted(task), posted(task, **{field: given})], strict=True)
        assert raised.value.field == field
        assert len(str(raised.value)) < 300


@every_task
@pytest.mark.parametrize("given", ["", "x" * 128, "ward 7/é😀", "😀" * 128, 7, -7, 10**127])
def test_a_name_is_kept_as_it_was_given(name: str, given: Any, tmp_path: Path) -> None:
    task = settled(name, tmp_path).task
    for field in names_of(task):
        records = task.parse([posted(task, **{field: given})], strict=True).records
        named = [records.ids, records.groups, *records.subgroups.values()]
        assert str(given) in np.concatenate(named).tolist()


def test_the_schema_of_a_name_and_its_parser_agree() -> None:
    assert re.search(NAME_SCHEMA["pattern"], "ward 7/é😀")
    for given in [text for text in NO_NAMES if isinstance(text, str) and text != "\ud800"]:
        assert len(given) > NAME_SCHEMA["maxLength"] or not re.search(NAME_SCHEMA["pattern"], given)


@every_task
def test_what_is_read_of_a_record_rests_on_no_other_and_on_no_outcome(name: str, tmp_path: Path) -> None:
    root, place = tmp_path / "data", tmp_path / "other"
    root.mkdir()
    place.mkdir()
    publisher = settled(name, root, 60)
    if name not in OWN:
        publisher.simulate(root, 60, seed=3)
    publisher.settle(root)
    cohort = publisher.read(root, publisher.default_sets())
    before, ids = cohort.records, cohort.records.ids.tolist()
    donors, replaced = np.arange(60), np.arange(60) % 3 == 0
    for of_set in (cohort.set_of == one for one in np.unique(cohort.set_of)):
        exchanged, same = np.flatnonzero(of_set & ~replaced), np.flatnonzero(of_set & replaced)
        donors[exchanged], donors[same] = np.roll(exchanged, 7), same[0]
    found = publisher.with_contents(root, place, dict(zip(ids, before.ids[donors].tolist(), strict=True)))
    assert found is not None
    twin, other = found
    after = twin.read(other, publisher.default_sets()).records
    at = {record: i for i, record in enumerate(after.ids.tolist())}
    kept = [i for i, record in enumerate(ids) if record in at]
    assert set(kept) >= set(np.flatnonzero(~replaced))  # of those with one content a publisher may make one
    moved = after.take(np.array([at[ids[i]] for i in kept]))
    assert moved.digests.tolist() == before.digests[donors[kept]].tolist()
    assert np.any(donors[kept] != kept)
    if (moved.n_units == 1).all():  # beats go where their recordings go, and labels are fitted to them
        of = np.flatnonzero(~replaced[kept])
        np.testing.assert_array_equal(moved.labels[of], before.labels[np.array(kept)[of]])
