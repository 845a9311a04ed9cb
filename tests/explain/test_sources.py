"""Sources: every column of every configured view is told apart, by parameter and by value or missingness."""

import numpy as np
import pytest

from ehrbench.app.composed.conf import CONF
from ehrbench.app.wired.building import build
from ehrbench.core.views import Sequence, Signal, Table, Tokens
from ehrbench.explain.payloads import parameters
from ehrbench.explain.sources import Source, source, sources
from ehrbench.features.clinical import CLINICAL
from ehrbench.features.events import Events
from ehrbench.features.grid import Grid
from ehrbench.features.irregular import Irregular
from ehrbench.features.rows import Rows
from ehrbench.features.statistics import Statistics
from ehrbench.features.tabular import Tabular
from tests.explain.records import cohort
from tests.features.payloads import records_of
from tests.tasks.configured import configuration, settled
from tests.tasks.own_data import OWN

TASKS = CONF / "task"
NAMES = sorted(path.stem for path in TASKS.glob("*.yaml"))


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("Lactate.mean", ("Lactate", "value")),
        ("Lactate.count@36-48", ("Lactate", "missingness")),
        ("Lactate.last_hour", ("Lactate", "missingness")),
        ("Lactate.last@24-48.missing", ("Lactate", "missingness")),
        ("HR.delta", ("HR", "missingness")),
        ("Age.descriptor", ("Age", "value")),
        ("Age", ("Age", "value")),
        ("GenHlth=3", ("GenHlth", "value")),
        ("bmi", ("bmi", "value")),
        ("hours.per.week", ("hours.per.week", "value")),
        ("hours.per.week.missing", ("hours.per.week", "missingness")),
        ("beds.count", ("beds.count", "value")),
        ("a=b.last", ("a=b", "value")),
        ("a=b.last_hour@0-24", ("a=b", "missingness")),
    ],
)
def test_a_name_says_parameter_and_kind(column, expected):
    assert source(column, expected[0]) == Source(*expected)


@pytest.mark.parametrize("name", NAMES)
def test_every_configured_view_speaks_of_parameters_the_payload_has(name, tmp_path, monkeypatch):
    publisher, task_config = settled(name, tmp_path / "data", 40), configuration(name)
    if name in OWN:
        records = publisher.read(tmp_path, ()).records
    else:
        records = cohort(publisher, tmp_path, 40, monkeypatch).records
    known = {*parameters(records.payload), *(column.partition(".")[0] for column in CLINICAL)}
    for view_name, settings in task_config["views"].items():
        view = build(settings, view_name).fit(records).transform(records)
        found = sources(view)
        assert found or not isinstance(view, Table | Sequence | Signal), view_name  # others may name none
        spoken = {one.parameter for named in found.values() for one in named}
        assert spoken <= known or not parameters(records.payload)  # beats cannot be taken apart
        for array, named in found.items():
            assert view.arrays()[array].shape[-1] == len(named)


PARAMETERS = ("hours.per.week", "HR", "HR.mean", "dose=1")


def spoken(view):
    found = sources(view)
    assert found
    return {one.parameter for named in found.values() for one in named}


@pytest.mark.parametrize("scaling", [None, "quantile"])
def test_columns_of_a_table_speak_of_names_with_any_marks(scaling):
    values = np.random.default_rng(0).integers(0, 3, (60, 4)).astype(np.float32)
    values[::7] = np.nan
    rows = records_of(Rows(values, PARAMETERS, {"dose=1": ("a.count", "b=c", "d")}))
    view = Tabular(scaling=scaling, one_hot=["HR.mean"]).fit(rows).transform(rows)
    assert spoken(view) == set(PARAMETERS)
    one = dict(zip(view.names, sources(view)["values"], strict=True))
    assert one["hours.per.week"] == Source("hours.per.week", "value")
    if scaling:
        assert one["dose=1=a.count"] == Source("dose=1", "value")
        assert one["hours.per.week.missing"] == Source("hours.per.week", "missingness")


@pytest.mark.parametrize(
    "featurizer",
    [Grid(delta=True), Irregular(steps=8), Statistics(clinical=False, scaling="quantile"), Statistics()],
)
def test_views_of_events_speak_of_names_with_any_marks(featurizer):
    rng, n = np.random.default_rng(0), 40
    levels = rng.choice([0, 1, np.nan], (n, 3)).astype(np.float32)
    events = Events(
        *(np.arange(n + 1) * 4, np.tile(np.arange(4, dtype=np.int32) * 60, n)),
        *(np.tile(np.arange(4, dtype=np.uint16), n), rng.normal(size=4 * n).astype(np.float32), levels),
        *(PARAMETERS, ("a=b", "ward.no=icu", "ward.no=eye.count"), ("a=b", "ward.no", "ward.no")),
    )
    records = records_of(events)
    assert parameters(events) == (*PARAMETERS, "a=b", "ward.no")
    view = featurizer.fit(records).transform(records)
    assert spoken(view) == set(parameters(events))
    assert spoken(view.take(np.array([3, 1]))) == set(parameters(events))
    index, changed = events.exchanged("ward.no", np.arange(n)[::-1])
    np.testing.assert_array_equal(changed.descriptors[:, 1:], levels[n - 1 - index, 1:])
    np.testing.assert_array_equal(changed.descriptors[:, 0], levels[index, 0])


def test_a_view_without_names_has_no_sources():
    assert sources(Tokens(np.zeros(6, dtype=np.int32), np.array([0, 3, 6]))) == {}
