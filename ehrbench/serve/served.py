"""Served: what one request got, from which all that is said, kept and compared of it is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ehrbench.core.records import Records
from ehrbench.core.task import RawInput
from ehrbench.core.types import BoolArray, FloatArray
from ehrbench.runtime import Bundle, Prediction
from ehrbench.runtime.occlusion import Occlusion
from ehrbench.serve.deployments import Deployment


@dataclass(frozen=True, eq=False)
class Served:
    """What one request got: the records, their prediction, and which deployment made it.

    token: begins the id of each predicted unit (``unit_id``). sources: (N,) number of each record's input.
    """

    deployment: Deployment
    records: Records
    prediction: Prediction
    called: BoolArray  # (U, C)
    evidence: Occlusion | None
    contributions: Mapping[str, Mapping[str, FloatArray]]  # of trees, beside the evidence
    token: str
    sources: Sequence[int]

    @property
    def bundle(self) -> Bundle:
        return self.deployment.bundle


def unit_id(token: str, record: int, unit: int) -> str:
    """The id of one predicted unit: the request's token, the record's place in it, the unit's number."""
    return f"{token}-{record}-{unit}"


def sources_of(bundle: Bundle, inputs: Sequence[RawInput], n_records: int) -> Sequence[int]:
    """(N,) number of the input that each record came in; files may hold several."""
    if len(inputs) == n_records:
        return range(n_records)
    if len(inputs) == 1:
        return [0] * n_records
    held = [len(bundle.task.parse([raw], strict=True).records) for raw in inputs]
    return [number for number, n in enumerate(held) for _ in range(n)]
