"""Runners against the libraries that made the files."""

from __future__ import annotations

import threading
from pathlib import Path

import lightgbm
import numpy as np
import pytest
from onnx import TensorProto, helper, save

from ehrbench.core.errors import BundleError
from ehrbench.core.model import save_arrays
from ehrbench.core.views import Port, View
from ehrbench.runtime.runners import ONNX_BATCH, _providers, open_runner
from ehrbench.runtime.trees import Trees


class Given(View):
    """A view of these arrays."""

    def __init__(self, **arrays: np.ndarray) -> None:
        self._arrays = arrays

    def __len__(self) -> int:
        return len(next(iter(self._arrays.values())))

    def take(self, index: np.ndarray) -> Given:
        return Given(**{name: array[index] for name, array in self._arrays.items()})

    def ports(self) -> dict[str, Port]:
        return {name: Port(array.dtype.name, array.shape[1:]) for name, array in self._arrays.items()}

    def arrays(self) -> dict[str, np.ndarray]:
        return self._arrays


@pytest.fixture
def values() -> np.ndarray:
    values = np.random.default_rng(0).normal(size=(700, 4)).astype(np.float32)
    values[::7, 2] = np.nan
    return values


def train(path: Path, values: np.ndarray, label: np.ndarray, **settings: object) -> lightgbm.Booster:
    settings = {"verbosity": -1, "num_threads": 1, "num_leaves": 15, **settings}
    booster = lightgbm.train(settings, lightgbm.Dataset(values, label), num_boost_round=20)
    booster.save_model(path)
    return booster


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_trees_give_what_lightgbm_gives(tmp_path: Path, values: np.ndarray, dtype: type) -> None:
    values = values.astype(dtype)
    booster = train(tmp_path / "model.txt", values, values[:, 0] > 0, objective="binary")
    runner = open_runner("lightgbm", tmp_path, threads=1, device="cpu")
    np.testing.assert_array_equal(
        runner.scores(Given(values=values))[:, 0], booster.predict(values, raw_score=True)
    )


def test_trees_of_several_classes(tmp_path: Path, values: np.ndarray) -> None:
    label = np.digitize(values[:, 1], (-0.5, 0.5))
    booster = train(tmp_path / "model.txt", values, label, objective="multiclass", num_class=3)
    scores = open_runner("lightgbm", tmp_path, threads=2, device="cpu").scores(Given(values=values))
    np.testing.assert_array_equal(scores, booster.predict(values, raw_score=True))


def test_trees_of_several_labels_keep_their_order_beyond_ten(tmp_path: Path, values: np.ndarray) -> None:
    boosters = [
        train(tmp_path / f"model.{c}.txt", values, values[:, 0] > c / 10, objective="binary")
        for c in range(11)
    ]
    scores = open_runner("lightgbm", tmp_path, threads=1, device="cpu").scores(Given(values=values))
    expected = np.stack([booster.predict(values, raw_score=True) for booster in boosters], axis=1)
    np.testing.assert_array_equal(scores, expected)


def test_a_label_without_its_trees_is_named(tmp_path: Path, values: np.ndarray) -> None:
    train(tmp_path / "model.0.txt", values, values[:, 0] > 0, objective="binary")
    (tmp_path / "model.0.txt").rename(tmp_path / "model.one.txt")
    with pytest.raises(BundleError, match=r"model\.0\.txt: missing"):
        open_runner("lightgbm", tmp_path, threads=1, device="cpu")


def test_trees_refuse_a_view_of_another_width(tmp_path: Path, values: np.ndarray) -> None:
    train(tmp_path / "model.txt", values, values[:, 0] > 0, objective="binary")
    trees = Trees(tmp_path / "model.txt", threads=1)
    with pytest.raises(BundleError, match=r"model\.txt: wants 4 columns, the view has 3"):
        trees.scores(values[:, :3])


def test_trees_predict_in_several_threads(tmp_path: Path, values: np.ndarray) -> None:
    train(tmp_path / "model.txt", values, values[:, 0] > 0, objective="binary")
    trees, expected, wrong = Trees(tmp_path / "model.txt", threads=1), None, []
    expected = trees.scores(values)

    def work(part: slice) -> None:
        for _ in range(30):
            if not np.array_equal(trees.scores(values[part]), expected[part]):
                wrong.append(part)

    threads = [threading.Thread(target=work, args=(slice(i, None, 4),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def network(path: Path, output: str = "scores", dtype: int = TensorProto.FLOAT) -> None:
    """scores = sum of values over steps."""
    node = helper.make_node("ReduceSum", ["values", "axis"], [output], keepdims=0)
    graph = helper.make_graph(
        [node],
        "sum",
        [helper.make_tensor_value_info("values", dtype, ["U", "L", "F"])],
        [helper.make_tensor_value_info(output, dtype, ["U", "F"])],
        [helper.make_tensor("axis", TensorProto.INT64, [1], [1])],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


@pytest.mark.parametrize("n_units", [1, ONNX_BATCH, 2 * ONNX_BATCH + 1])
def test_network_in_batches(tmp_path: Path, n_units: int) -> None:
    network(tmp_path / "model.onnx")
    values = np.random.default_rng(0).normal(size=(n_units, 5, 1))  # float64: the runner casts
    runner = open_runner("onnx", tmp_path, threads=1, device="cpu")
    scores = runner.scores(Given(values=values, mask=np.ones(n_units)))
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, values.sum(axis=1), atol=1e-5)


def test_a_unit_alone_gets_the_bits_it_gets_among_others(tmp_path: Path) -> None:
    """A sum over steps is another kernel's where there is one unit, and rounds otherwise."""
    network(tmp_path / "model.onnx")
    runner = open_runner("onnx", tmp_path, threads=1, device="cpu")
    values = np.random.default_rng(0).normal(
        size=(ONNX_BATCH + 1, 48, 8)
    )  # the last batch is a unit alone, too
    together = runner.scores(Given(values=values))
    alone = [runner.scores(Given(values=values[i : i + 1])) for i in range(len(values))]
    np.testing.assert_array_equal(np.concatenate(alone), together)
    assert runner.scores(Given(values=values[:0])).shape == (0, 8)


def test_network_with_an_input_no_view_has(tmp_path: Path) -> None:
    network(tmp_path / "model.onnx")
    runner = open_runner("onnx", tmp_path, threads=1, device="cpu")
    with pytest.raises(BundleError, match=r"model\.onnx: wants an input values; the view has pixels"):
        runner.scores(Given(pixels=np.zeros((1, 1))))


def test_network_with_another_output(tmp_path: Path) -> None:
    network(tmp_path / "model.onnx", output="logits")
    with pytest.raises(BundleError, match=r"model\.onnx: outputs are logits, not the single output scores"):
        open_runner("onnx", tmp_path, threads=1, device="cpu")


def test_cuda_asked_for_where_there_is_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    network(tmp_path / "model.onnx")
    runner = open_runner("onnx", tmp_path, threads=1, device="cuda")
    assert runner.scores(Given(values=np.ones((2, 3, 1)))).tolist() == [[3.0], [3.0]]
    assert "no CUDA provider" in caplog.text


def test_networks_on_a_gpu_take_no_shorter_numbers_than_on_a_cpu() -> None:
    gpu = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert _providers("cuda", gpu) == [(gpu[0], {"use_tf32": "0"}), gpu[1]]
    assert _providers("cpu", gpu) == gpu[1:]


def test_linear(tmp_path: Path) -> None:
    coefficient, intercept = np.array([[1.0, 0.0], [2.0, -1.0]]), np.array([0.5, 0.0])
    save_arrays(tmp_path / "model.npz", {"coefficient": coefficient, "intercept": intercept})
    runner = open_runner("linear", tmp_path, threads=1, device="cpu")
    assert runner.scores(Given(values=np.array([[1.0, 3.0]]))).tolist() == [[7.5, -3.0]]


def test_linear_without_its_intercept(tmp_path: Path) -> None:
    save_arrays(tmp_path / "model.npz", {"coefficient": np.ones((2, 1))})
    with pytest.raises(BundleError, match=r"model\.npz: holds no array 'intercept'"):
        open_runner("linear", tmp_path, threads=1, device="cpu")


def test_unknown_runner(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="runner 'pickle' is none of onnx, lightgbm, linear"):
        open_runner("pickle", tmp_path, threads=1, device="cpu")
