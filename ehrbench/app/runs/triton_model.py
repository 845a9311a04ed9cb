"""A bundle as Triton's Python backend wants a model; copied into a model repository by ``layouts``.

Takes ``record`` (N,) of raw records, each the publisher's file or its JSON form; gives ``probability`` and
``called`` (U, C) and ``record_of_unit`` (U,). Parsing is strict: the first field that cannot be read is the
error. Networks are models of the same repository, named in this one's parameters, and asked through Triton.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ehrbench.core.errors import EhrbenchError
from ehrbench.core.task import RawInput
from ehrbench.runtime import Bundle
from ehrbench.runtime.runners import OnnxRunner

#: Triton's own, which it puts beside the model and no index has.
pb_utils = importlib.import_module("triton_python_backend_utils")


class ThroughTriton(OnnxRunner):
    """A network that Triton runs."""

    def __init__(self, own: OnnxRunner, name: str) -> None:
        self.__dict__ |= own.__dict__
        self._session, self._name = None, name

    def _run(self, feeds: dict[str, np.ndarray]) -> np.ndarray:
        request = pb_utils.InferenceRequest(
            model_name=self._name,
            requested_output_names=["scores"],
            inputs=[pb_utils.Tensor(name, array) for name, array in feeds.items()],
        )
        response = request.exec()
        if response.has_error():
            raise EhrbenchError(f"{self._name}: {response.error().message()}")
        return np.asarray(pb_utils.get_output_tensor_by_name(response, "scores").as_numpy())


class TritonPythonModel:
    """Triton looks for this name."""

    def initialize(self, args: dict[str, str]) -> None:
        place = Path(args["model_repository"]) / args["model_version"] / "bundle"
        bundle, told = Bundle.load(place), json.loads(args["model_config"])["parameters"]
        self.bundle = replace(
            bundle,
            models={
                name: tuple(
                    replace(m, runner=ThroughTriton(m.runner, told[m.folder]["string_value"]))
                    if m.folder in told and isinstance(m.runner, OnnxRunner)
                    else m
                    for m in members
                )
                for name, members in bundle.models.items()
            },
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._answered(request) for request in requests]

    def _answered(self, request: Any) -> Any:
        raw = pb_utils.get_input_tensor_by_name(request, "record").as_numpy().ravel()
        try:
            inputs = [RawInput(f"record {n + 1}", _body(one)) for n, one in enumerate(raw)]
            records = self.bundle.task.parse(inputs, strict=True).records
            prediction = self.bundle.predict(records)
        except (EhrbenchError, ValueError) as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
        told = {
            "probability": prediction.probabilities,
            "called": self.bundle.called(prediction),
            "record_of_unit": records.unit_record,
        }
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in told.items()])


def _body(raw: bytes) -> Any:
    return json.loads(raw) if raw.lstrip()[:1] == b"{" else raw
