"""What every task promises (``core.task``), for each YAML of ``conf/task``, on a cohort it simulates."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from ehrbench import metrics
from ehrbench.app.building import build, build_task
from ehrbench.app.cli import task_names
from ehrbench.app.entry import CONF
from ehrbench.core.errors import DataError
from ehrbench.core.featurizer import Featurizer
from ehrbench.core.task import Cohort, RawInput, Task

every_task = pytest.mark.parametrize("name", task_names())


def configuration(name: str) -> dict[str, Any]:
    root = OmegaConf.create({"task": OmegaConf.load(CONF / "task" / f"{name}.yaml")})
    resolved = OmegaConf.to_container(root, resolve=True)
    assert isinstance(resolved, dict)
    return dict(resolved["task"])


def task_of(name: str) -> Task:
    return build_task(configuration(name))


def simulated(name: str, root: Path, n_records: int = 60) -> Cohort:
    task = task_of(name)
    task.simulate(root, n_records, seed=3)
    return task.read(root, task.default_sets())


@every_task
def test_its_yaml_says_what_its_class_does(name: str) -> None:
    config, task = configuration(name), task_of(name)
    assert set(config) - {"defaults"} == {
        "name",
        "metric",
        "sets",
        "train_sets",
        "test_sets",
        "build",
        "views",
    }
    assert (config["name"], config["metric"], tuple(config["sets"])) == (
        name,
        task.metric,
        task.default_sets(),
    )
    assert task.name == name
    assert {task.metric, *task.metrics} <= set(metrics.names())
    assert not set(config["train_sets"]) & set(config["test_sets"])


@every_task
def test_a_simulated_cohort_is_read_labelled_and_called_simulated(name: str, tmp_path: Path) -> None:
    cohort, task = simulated(name, tmp_path), task_of(name)
    records = cohort.records
    assert cohort.label == "simulated"
    assert len(records) == 60
    assert len(set(records.ids.tolist())) == 60
    task.target.check_labels(records.labels)
    assert (np.nansum(records.labels, axis=0) > 0).all()
    assert task.read(tmp_path, task.default_sets()).digest == cohort.digest
    assert all(levels.dtype.kind == "U" for levels in records.subgroups.values())


@every_task
def test_simulation_never_writes_over_a_publishers_files(name: str, tmp_path: Path) -> None:
    simulated(name, tmp_path)
    (mark,) = tmp_path.rglob("SIMULATED")
    mark.unlink()
    assert task_of(name).read(tmp_path, task_of(name).default_sets()).label == "publisher"
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(DataError, match="—"):
        task_of(name).simulate(tmp_path, 30, seed=4)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@every_task
def test_text_json_and_file_of_its_example_are_one_record(name: str, tmp_path: Path) -> None:
    """As the server takes it, twice in one request, and as ``predict.py`` reads it; never with a label."""
    task = task_of(name)
    text, posted = task.example(), RawInput("posted", task.raw_schema()["examples"][0])
    assert isinstance(text.body, bytes)
    (tmp_path / text.name).write_bytes(text.body)
    found = [
        task.parse([text], strict=True),
        task.parse([posted], strict=True),
        task.parse([text], strict=False),
        task.read_unlabelled(tmp_path / text.name),
    ]
    assert [(len(one.records), one.skipped, one.n_lost) for one in found] == [(1, (), 0)] * 4
    assert all(one.records.target is None and not one.records.auxiliary for one in found)
    together = task.parse([posted, text], strict=True).records.payload.digests()
    assert {*(str(one.records.payload.digests()[0]) for one in found), *map(str, together)} == {
        str(together[0])
    }


@every_task
def test_what_is_no_record_is_refused_by_the_server(name: str) -> None:
    task = task_of(name)
    for body in (b"", b"\xff\xfe\x00", b"hello, world\n1,2\n", {"hello": "world"}, {}):
        with pytest.raises(DataError, match="—"):
            task.parse([RawInput("odd", body)], strict=True)


@every_task
def test_without_its_files_it_says_what_to_do(name: str, tmp_path: Path) -> None:
    task = task_of(name)
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match="—"):
            task.read(root, task.default_sets())
    with pytest.raises(DataError, match="—"):
        task.read_unlabelled(tmp_path / "nowhere")


@every_task
def test_every_view_is_made_of_training_records_and_of_the_example(name: str, tmp_path: Path) -> None:
    records, task = simulated(name, tmp_path).records, task_of(name)
    example = task.parse([task.example()], strict=True).records
    for view_name, settings in configuration(name)["views"].items():
        featurizer = build(settings, view_name)
        assert isinstance(featurizer, Featurizer)
        train = featurizer.fit(records).transform(records).arrays()
        one = featurizer.transform(example).arrays()
        assert {k: (records.total_units, *a.shape[1:]) for k, a in one.items()} == {
            k: a.shape for k, a in train.items()
        }
        assert view_name == "table" or all(np.isfinite(a).all() for a in one.values())


def names_of(task: Task) -> list[str]:
    """The fields of its JSON form that hold whatever text a client likes."""
    fields = task.raw_schema()["properties"].items()
    return [field for field, schema in fields if "string" in schema["type"] and "enum" not in schema]


def posted(task: Task, **changes: Any) -> RawInput:
    return RawInput("posted", {**task.raw_schema()["examples"][0], **changes})


NO_NAMES: list[Any] = ["x" * 129, "x" * 2_000_000, "a\0", "a\nb", "\x7f", "\x85", "\ud800"]
NO_NAMES += [True, 1.5, [1, 2], {"a": 1}, 10**128, -(10**128)]


@every_task
@pytest.mark.parametrize("given", NO_NAMES, ids=lambda given: repr(given)[:20])
def test_what_is_no_name_is_refused_by_its_field(name: str, given: Any) -> None:
    task = task_of(name)
    for field in names_of(task):
        with pytest.raises(DataError, match="—") as raised:
            task.parse([posted(task), posted(task, **{field: given})], strict=True)
        assert raised.value.field == field
        assert len(str(raised.value)) < 300


@every_task
@pytest.mark.parametrize("given", ["", "x" * 128, "ward 7/é😀", "😀" * 128, 7, -7, 10**127])
def test_a_name_is_kept_as_it_was_given(name: str, given: Any) -> None:
    task = task_of(name)
    assert names_of(task)
    for field in names_of(task):
        records = task.parse([posted(task, **{field: given})], strict=True).records
        named = [records.ids, records.groups, *records.subgroups.values()]
        assert str(given) in np.concatenate(named).tolist()


@every_task
def test_its_schema_and_its_parser_agree_on_names(name: str) -> None:
    fields = task_of(name).raw_schema()["properties"]
    for schema in [fields[field] for field in names_of(task_of(name))]:
        assert re.search(schema["pattern"], "ward 7/é😀")
        for given in [text for text in NO_NAMES if isinstance(text, str) and text != "\ud800"]:
            assert len(given) > schema["maxLength"] or not re.search(schema["pattern"], given)
