"""Sources: every column of every configured view is told apart, by parameter and by value or missingness."""

import numpy as np
import pytest

from ehrbench.app.building import build
from ehrbench.app.conf import CONF
from ehrbench.core.views import Sequence, Signal, Table, Tokens
from ehrbench.explain.payloads import parameters
from ehrbench.explain.sources import Source, source, sources
from ehrbench.features.clinical import CLINICAL
from tests.explain.records import cohort
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
    ],
)
def test_a_name_says_parameter_and_kind(column, expected):
    assert source(column) == Source(*expected)


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


def test_a_view_without_names_has_no_sources():
    assert sources(Tokens(np.zeros(6, dtype=np.int32), np.array([0, 3, 6]))) == {}
