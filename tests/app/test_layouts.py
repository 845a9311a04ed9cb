"""``ehrbench bundle export``: other layouts say what the bundle says; int8 within its stated loss."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest

from ehrbench.app.command.cli import main
from ehrbench.core.task import RawInput
from ehrbench.runtime import Bundle


def offline(bundle: Bundle, *bodies: Any) -> np.ndarray:
    inputs = [RawInput("offline", body) for body in bodies]
    return bundle.predict(bundle.task.parse(inputs, strict=True).records).probabilities


POSTED = {"id": "p1", "rows": [[0.5, -1.0, 2.0], [1.0, None, 0.25]]}


def test_mlflow_loads_it_without_a_pickle(run: Path, tmp_path: Path) -> None:
    import mlflow.pyfunc

    assert main(["bundle", "export", str(run), str(tmp_path / "model"), "--layout", "pyfunc"]) == 0
    assert not [p for p in (tmp_path / "model").rglob("*") if p.suffix in (".pkl", ".pickle", ".cloudpickle")]
    found = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(pd.DataFrame([POSTED]))
    assert found["probability"].tolist() == pytest.approx(offline(Bundle.load(run), POSTED)[:, 0], abs=1e-12)
    assert found["unit"].tolist() == [0, 1]


def test_an_existing_folder_is_left_alone(run: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "mine").mkdir()
    assert main(["bundle", "export", str(run), str(tmp_path / "mine"), "--layout", "triton"]) == 2
    assert "exists — name a new folder" in capsys.readouterr().err
    assert [*(tmp_path / "mine").iterdir()] == []


@pytest.fixture(scope="session")
def repository(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("triton") / "models"
    assert main(["bundle", "export", str(run), str(folder), "--layout", "triton"]) == 0
    return folder


def schema() -> Any:
    """NVIDIA's own, of the client's package, without what its other modules need."""
    text_format = importlib.import_module("google.protobuf.text_format")
    spec = importlib.util.find_spec("tritonclient")
    assert spec is not None, "tritonclient is not installed: run scripts/environment.sh --dev"
    place = Path(next(iter(spec.submodule_search_locations or []))) / "grpc" / "model_config_pb2.py"
    found = importlib.util.spec_from_file_location("ehrbench_tests_model_config_pb2", place)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return lambda text: text_format.Parse(text, module.ModelConfig())


def test_tritons_own_schema_takes_every_configuration(repository: Path) -> None:
    parse = schema()
    told = {p.parent.name: parse(p.read_text(encoding="utf-8")) for p in repository.glob("*/config.pbtxt")}
    assert {name: one.backend for name, one in told.items()} == {
        "tiny-beats-holdout": "python",
        "tiny-beats-holdout-mlp-0": "onnxruntime",
        "tiny-beats-holdout-mlp-1": "onnxruntime",
    }
    for name, one in told.items():
        assert one.name == name
        if one.backend == "onnxruntime":
            graph = onnxruntime.InferenceSession(repository / name / "1" / "model.onnx")
            assert {i.name: len(i.dims) for i in one.input} == {
                i.name: len(i.shape) for i in graph.get_inputs()
            }
            assert [o.name for o in one.output] == ["scores"]


def test_tritons_python_model_says_what_the_bundle_says(
    run: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triton itself is a container; its Python API is played here, its networks run by ONNX Runtime."""
    asked: list[str] = []
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", _backend(repository, asked))
    place = repository / "tiny-beats-holdout" / "1" / "model.py"
    found = importlib.util.spec_from_file_location("tests_triton_model", place)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    config = schema()((place.parents[1] / "config.pbtxt").read_text(encoding="utf-8"))
    parameters = {key: {"string_value": value.string_value} for key, value in config.parameters.items()}
    model = module.TritonPythonModel()
    model.initialize(
        {
            "model_repository": str(place.parents[1]),
            "model_version": "1",
            "model_config": json.dumps({"parameters": parameters}),
        }
    )
    posted = np.array([json.dumps(POSTED).encode(), b"p2,1,2,3\n"], dtype=object)
    wrong = np.array([b"p2,1,2,three\n"], dtype=object)
    good, bad = model.execute([{"record": posted}, {"record": wrong}])
    bundle = Bundle.load(run)
    np.testing.assert_allclose(good.tensors["probability"], offline(bundle, POSTED, b"p2,1,2,3\n"), atol=1e-7)
    assert good.tensors["record_of_unit"].tolist() == [0, 0, 1]
    assert good.tensors["called"].dtype == bool
    assert "is not a number" in bad.error
    assert set(asked) == {"tiny-beats-holdout-mlp-0", "tiny-beats-holdout-mlp-1"}


def _backend(repository: Path, asked: list[str]) -> ModuleType:
    """``triton_python_backend_utils`` as far as a model calls it."""

    class Tensor:
        def __init__(self, name: str, array: np.ndarray) -> None:
            self.name, self.array = name, array

        def as_numpy(self) -> np.ndarray:
            return self.array

    class InferenceRequest:
        def __init__(self, model_name: str, requested_output_names: list[str], inputs: list[Tensor]) -> None:
            self.name, self.outputs, self.feeds = model_name, requested_output_names, inputs

        def exec(self) -> Any:
            asked.append(self.name)
            session = onnxruntime.InferenceSession(repository / self.name / "1" / "model.onnx")
            (scores,) = session.run(self.outputs, {one.name: one.array for one in self.feeds})
            return InferenceResponse([Tensor("scores", scores)])

    class InferenceResponse:
        def __init__(self, output_tensors: list[Tensor] = (), error: str | None = None) -> None:  # type: ignore[assignment]
            self.tensors, self.error = {one.name: one.array for one in output_tensors}, error

        def has_error(self) -> bool:
            return self.error is not None

    module = ModuleType("triton_python_backend_utils")
    module.__dict__.update(
        Tensor=Tensor,
        InferenceRequest=InferenceRequest,
        InferenceResponse=InferenceResponse,
        TritonError=str,
        get_input_tensor_by_name=lambda request, name: Tensor(name, request[name]),
        get_output_tensor_by_name=lambda response, name: Tensor(name, response.tensors[name]),
    )
    return module


def test_int8_is_written_with_its_cost_and_refused_above_what_was_allowed(
    run: Path, tmp_path: Path, capsys: Any
) -> None:
    arguments = ["bundle", "export", str(run), str(tmp_path / "int8"), "--int8", "--most-loss"]
    assert main([*arguments, "0.05"]) == 0
    out = capsys.readouterr().out
    assert "held-out records" in out
    assert max(map(len, out.splitlines())) <= 80
    plain, int8 = Bundle.load(run), Bundle.load(tmp_path / "int8")
    told = int8.manifest.quantised
    assert told["loss"] == pytest.approx(
        max(a - b for a, b in [*told["models"].values(), (told["plain"], told["int8"])])
    )
    assert told["models"]["lightgbm"][0] == told["models"]["lightgbm"][1]  # trees stay as they are
    assert told["n_records"] == 240
    assert all(after < before for before, after in told["graph_bytes"].values())
    assert int8.self_test() == 0
    example = plain.task.parse([RawInput("one", POSTED)], strict=True).records
    said = [one.predict(example).by_model["mlp"] for one in (plain, int8)]
    assert 0 < np.abs(said[0] - said[1]).max() < 0.05  # another network, nearly the same
    assert main(["bundle", "inspect", str(tmp_path / "int8")]) == 0
    assert "auroc" in capsys.readouterr().out


def test_a_network_that_int8_spoils_is_not_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from onnxruntime import quantization

    real = quantization.quantize_dynamic

    def spoiled(source: Path, target: Path, **settings: Any) -> None:
        """The last matrix loses its sign: what int8 does to a network of large weights, made certain."""
        import onnx
        from onnx import numpy_helper

        model = onnx.load(source)
        for one in model.graph.initializer:
            if one.dims and len(one.dims) == 2:
                one.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(one), one.name))
        onnx.save(model, source)
        real(source, target, **settings)

    monkeypatch.setattr(quantization, "quantize_dynamic", spoiled)
    assert main(["bundle", "export", str(run), str(tmp_path / "int8"), "--int8"]) == 2
    assert "and 0.002 is the most" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []
