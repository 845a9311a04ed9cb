"""Runners: a view to scores (U, C), one class for each form that ``Model.export`` writes.

Thread safety: ``scores`` keeps no state and may be called from several threads at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from scipy import sparse

from ehrbench.core.errors import BundleError
from ehrbench.core.model import load_arrays
from ehrbench.core.types import FloatArray
from ehrbench.core.views import Bag, View
from ehrbench.runtime.opening import read_file

Device = Literal["cpu", "cuda"]
Tensor = tuple[str, list[int]]

#: Rows given to a network at once: enough to fill a core's vector units, little enough for any memory.
ONNX_BATCH = 256
#: Steps or tokens given at once, with their padding, where rows differ in length.
ONNX_CELLS = 1 << 15

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
}


class Runner(Protocol):
    """Scores become probabilities by ``Target.probabilities``."""

    def scores(self, view: View) -> FloatArray:
        """(U, C) scores of the view's units."""
        ...


class OnnxRunner:
    """``model.onnx``: a network whose inputs are named as the view's arrays."""

    def __init__(self, directory: Path, threads: int, device: Device) -> None:
        import onnxruntime as ort

        self._path = directory / "model.onnx"
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False  # it keeps what the longest recording took, for every member
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads must not burn
        try:
            self._session = ort.InferenceSession(
                str(self._path.resolve()),
                options,
                providers=_providers(device, ort.get_available_providers()),
            )
        except Exception as error:  # onnxruntime raises a type of its own for each status
            raise BundleError(f"{self._path}: onnxruntime cannot load it ({_brief(error)})") from error
        self._inputs: dict[str, type[Any]] = {}
        for node in self._session.get_inputs():
            if node.type not in _DTYPES:
                raise BundleError(f"{self._path}: input {node.name} is a {node.type}, which no view holds")
            self._inputs[node.name] = _DTYPES[node.type]
        outputs = [node.name for node in self._session.get_outputs()]
        if outputs != ["scores"]:
            raise BundleError(f"{self._path}: outputs are {', '.join(outputs)}, not the single output scores")

    def ports(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Inputs and outputs of the graph: name -> ONNX Runtime's type, and shape with -1 for a free axis."""

        def of(nodes: Iterable[Any]) -> dict[str, Tensor]:
            return {n.name: (n.type, [d if isinstance(d, int) else -1 for d in n.shape]) for n in nodes}

        return of(self._session.get_inputs()), of(self._session.get_outputs())

    def scores(self, view: View) -> FloatArray:
        if missing := self._inputs.keys() - view.ports().keys():
            raise BundleError(
                f"{self._path}: wants an input {min(missing)}; the view has {', '.join(view.ports())}"
            )
        found = [self._batch(part) for part in view.batches(ONNX_BATCH, ONNX_CELLS)] or [self._batch(view)]
        return np.concatenate(found).astype(np.float64)

    def _batch(self, view: View) -> FloatArray:
        """(U, C) of one batch. A row alone is given twice: kernels for a single row round otherwise."""
        arrays, gathering = view.arrays(), view.gathering()
        feeds = {name: np.ascontiguousarray(arrays[name], dtype) for name, dtype in self._inputs.items()}
        n_rows = len(next(iter(feeds.values())))
        if n_rows == 1:
            feeds = {name: np.concatenate((array, array)) for name, array in feeds.items()}
        scores = self._run(feeds)[:n_rows]
        return scores if gathering is None else gathering(scores)

    def _run(self, feeds: dict[str, np.ndarray]) -> FloatArray:
        try:
            return np.asarray(self._session.run(["scores"], feeds)[0])
        except Exception as error:
            raise BundleError(f"{self._path}: onnxruntime failed on it ({_brief(error)})") from error


class LightGBMRunner:
    """``model.txt``, or ``model.0.txt`` … ``model.{C-1}.txt`` where each label has trees of its own."""

    def __init__(self, directory: Path, threads: int, device: Device) -> None:
        from ehrbench.runtime.trees import Trees

        del device  # trees are walked on the CPU everywhere
        single = directory / "model.txt"
        n_labels = 0 if single.is_file() else len(list(directory.glob("model.*.txt")))
        files = [directory / f"model.{label}.txt" for label in range(n_labels)] or [single]
        for path in files:
            if not path.is_file():
                raise BundleError(f"{path}: missing — copy the bundle again, whole")
        self._boosters = [Trees(path, threads) for path in files]

    def scores(self, view: View) -> FloatArray:
        if isinstance(view, Bag):
            rows = view.data, view.columns, view.starts, view.n_columns
            return np.concatenate([booster.sparse_scores(*rows) for booster in self._boosters], axis=1)
        values = view.arrays()["values"]
        return np.concatenate([booster.scores(values) for booster in self._boosters], axis=1)

    def contributions(self, view: View) -> FloatArray:
        """(U, C, F) of a table: what each column adds to the scores."""
        values = view.arrays()["values"]
        return np.concatenate([b.contributions(values) for b in self._boosters], axis=1)[:, :, :-1]


class LinearRunner:
    """``model.npz``: scores = values @ coefficient + intercept."""

    def __init__(self, directory: Path, threads: int, device: Device) -> None:
        del threads, device
        self._path = directory / "model.npz"
        arrays = read_file(self._path, load_arrays)
        try:
            self._coefficient, self._intercept = arrays["coefficient"], arrays["intercept"]  # (F, C), (C,)
        except KeyError as error:
            raise BundleError(f"{self._path}: holds no array {error} — export the bundle again") from error

    def scores(self, view: View) -> FloatArray:
        return np.asarray(view.arrays()["values"].astype(np.float64) @ self._coefficient + self._intercept)


class BagLinearRunner(LinearRunner):
    """``model.npz`` as ``LinearRunner``'s, on the sparse rows of a ``Bag``."""

    def scores(self, view: View) -> FloatArray:
        if not isinstance(view, Bag) or view.n_columns != len(self._coefficient):
            raise BundleError(f"{self._path}: wants sparse rows of {len(self._coefficient)} columns")
        rows = sparse.csr_array((view.data, view.columns, view.starts), shape=(len(view), view.n_columns))
        return np.asarray(rows @ self._coefficient + self._intercept)


_RUNNERS: dict[str, Callable[[Path, int, Device], Runner]] = {
    "onnx": OnnxRunner,
    "lightgbm": LightGBMRunner,
    "linear": LinearRunner,
    "bag_linear": BagLinearRunner,
}


def open_runner(name: str, directory: Path, *, threads: int, device: Device) -> Runner:
    """The runner ``name`` on the files of ``directory``; BundleError for a name or file it cannot use."""
    if name not in _RUNNERS:
        raise BundleError(f"{directory}: runner {name!r} is none of {', '.join(_RUNNERS)}")
    return _RUNNERS[name](directory, threads, device)


def _providers(device: Device, available: list[str]) -> list[str | tuple[str, dict[str, str]]]:
    if device == "cuda" and "CUDAExecutionProvider" not in available:
        logging.getLogger(__name__).warning("onnxruntime here has no CUDA provider; networks run on the CPU")
    found: list[str | tuple[str, dict[str, str]]] = ["CPUExecutionProvider"]
    if device == "cuda" and "CUDAExecutionProvider" in available:
        found.insert(0, ("CUDAExecutionProvider", {"use_tf32": "0"}))  # 11 bits, where a CPU takes 24
    return found


def _brief(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
