"""The description of the API, held to by schemathesis: no 5xx, and no answer that it does not describe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from ehrbench.infra.database import Database
from ehrbench.serve import ServeSettings
from ehrbench.serve.limits import StoreSettings
from ehrbench.serve.store import PredictionStore
from tests.serve.conftest import running
from tests.serve.test_store import KEY, KEYS

schemathesis = pytest.importorskip("schemathesis")
OPERATIONS = 14
#: Whatever Hypothesis finds, it finds again.
FEW = settings(
    max_examples=10,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)


@pytest.fixture(scope="module")
def keeper(any_bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    path = tmp_path_factory.mktemp("contract") / "kept.db"
    store = PredictionStore(Database.sqlite(path).engine, StoreSettings(inputs=True))
    limits = ServeSettings(body_timeout_s=5)
    with running(any_bundles["multiclass"], limits, store=store, keys=KEYS) as client:
        yield client


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_whatever_is_sent_is_answered_as_described(keeper: httpx.Client, mode: str) -> None:
    schemathesis.serializer("application/x-ndjson")(lambda context, value: str(value).encode())
    base = str(keeper.base_url).rstrip("/")
    described = schemathesis.openapi.from_dict(keeper.get("/openapi.json").json())
    checks = schemathesis.checks
    held = [
        checks.not_a_server_error,
        *checks.CHECKS.get_by_names(
            ["status_code_conformance", "content_type_conformance", "response_schema_conformance"]
        ),
    ]
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) == OPERATIONS
    statuses: set[int] = set()
    for operation in operations:
        if mode == "negative" and not (operation.body or operation.query or operation.path_parameters):
            continue  # nothing can be wrong with it
        cases = operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode))

        def ask(case: Any) -> None:
            answer = case.call(base_url=base, headers=KEY, timeout=30)
            statuses.add(answer.status_code)
            case.validate_response(answer, checks=held)

        FEW(given(cases)(ask))()
    assert statuses >= ({200, 404} if mode == "positive" else {400, 422})
    assert keeper.get("/readyz").status_code == 200
