"""A fitted classifier of another library as an ONNX graph, and several of them as one graph with scores.

The graph is the model from then on: what predicts in training, in a bundle and on a server is the same
computation, whatever the library's own does with the last digits or with ties. It is held to the library's
probabilities once, when it is made.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import logit

from ehrbench.core.target import Kind
from ehrbench.core.types import FloatArray

OPSET = 18
#: Of onnxmltools and its relatives, which lag behind.
LIBRARY_OPSET = 15
#: Rows on which a graph is compared with its library, and the mean difference of probabilities it may have:
#: above rounding, and ties of neighbours that are broken otherwise.
COMPARED, FAR = 256, 2e-3
#: Probabilities are kept so far from 0 and 1, as ``Target.scores`` keeps them.
EPS = 1e-7


class NoExport(Exception):
    """A classifier that no graph gives the probabilities of; the message says why."""


def convert(fitted: Any, x: FloatArray) -> Any:
    """The ONNX model of a fitted classifier: rows (U, F) to probabilities of its classes, the first output.

    x: training rows (U, F) float32. Raises NoExport.
    """
    library = type(fitted).__module__.partition(".")[0]
    try:
        model = _CONVERTERS.get(library, _sklearn)(fitted, x.shape[1])
        _leave_probabilities(model)
        found = run(session(model.SerializeToString(), 1), x[:COMPARED])
    except ModuleNotFoundError as error:
        raise NoExport(f"{error.name} is not installed: pip install 'ehrbench[estimators]'") from error
    except Exception as error:  # converters raise whatever they stumble over
        raise NoExport((str(error) or type(error).__name__).strip().splitlines()[0][:200]) from error
    own = np.asarray(fitted.predict_proba(x[:COMPARED]))
    if found.shape != own.shape:
        raise NoExport(f"its graph gives probabilities of shape {found.shape}, not {own.shape}")
    if not (far := np.abs(found - own).mean()) <= FAR:
        raise NoExport(f"its graph gives other probabilities, by {far:.2g} on average")
    return model


def _sklearn(fitted: Any, n_features: int) -> Any:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes as shapes
    from skl2onnx.operator_converters.random_forest import convert_sklearn_random_forest_classifier as forest

    more: dict[str, Any] = {}
    if type(fitted).__name__ == "HistGradientBoostingClassifier":
        more["custom_conversion_functions"] = {type(fitted): lambda s, o, c: forest(s, o, _Whole(c))}
        more["custom_shape_calculators"] = {type(fitted): shapes}
    types = [("values", FloatTensorType([None, n_features]))]
    return convert_sklearn(fitted, initial_types=types, target_opset=OPSET, **more)


class _Whole:
    """A container of skl2onnx whose truth values are numbers: its trees of histograms mix the two."""

    def __init__(self, container: Any) -> None:
        self._container = container

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, *words: Any, **attributes: Any) -> Any:
        tracks = "nodes_missing_value_tracks_true"
        if tracks in attributes:
            attributes[tracks] = [int(value) for value in attributes[tracks]]
        return self._container.add_node(*words, **attributes)


def _xgboost(fitted: Any, n_features: int) -> Any:
    from onnx import helper
    from onnxmltools.convert import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    types = [("values", FloatTensorType([None, n_features]))]
    model = convert_xgboost(fitted, initial_types=types, target_opset=LIBRARY_OPSET)
    if len(fitted.classes_) == 2:
        # the share of positives as log odds, which it forgets after a first empty tree
        trees = next(node for node in model.graph.node if node.op_type == "TreeEnsembleClassifier")
        attributes = [a for a in trees.attribute if a.name != "base_values"]
        del trees.attribute[:]
        base = float(logit(fitted.intercept_[0]))
        trees.attribute.extend([*attributes, helper.make_attribute("base_values", [base])])
    return model


def _lightgbm(fitted: Any, n_features: int) -> Any:
    from onnxmltools.convert import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    types = [("values", FloatTensorType([None, n_features]))]
    return convert_lightgbm(fitted, initial_types=types, target_opset=LIBRARY_OPSET)


def _catboost(fitted: Any, n_features: int) -> Any:
    import onnx

    with tempfile.TemporaryDirectory(prefix="ehrbench-") as folder:
        path = Path(folder) / "model.onnx"
        fitted.save_model(str(path), format="onnx")
        return onnx.load(path)


#: Library -> its converter; what follows scikit-learn's rules has skl2onnx's.
_CONVERTERS: Mapping[str, Callable[[Any, int], Any]] = {
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "catboost": _catboost,
}


def _leave_probabilities(model: Any) -> None:
    """Leave one output, (U, classes) probabilities: no labels, and no list of dictionaries."""
    from onnx import TensorProto, helper

    graph = model.graph
    zipped = [node for node in graph.node if node.op_type == "ZipMap"]
    name = zipped[0].input[0] if zipped else graph.output[1].name
    for node in zipped:
        graph.node.remove(node)
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", None]))


def scoring(
    models: Sequence[Any],
    select: FloatArray,
    constant: FloatArray,
    kind: Kind,
    fill: FloatArray | None,
    n_features: int,
) -> bytes:
    """One graph ``values`` (U, F) -> ``scores`` (U, C) of the classifiers of a target.

    select: (sum of the models' classes, C) which of their probabilities is a class's; constant (C,) is added,
    the probability of a class that no model gives. fill: (F,) what stands for missing values first, or None.
    """
    from onnx import TensorProto, compose, helper, numpy_helper

    nodes, initializers, parts = [], [], []
    opsets: dict[str, int] = {}

    def number(name: str, value: Any) -> str:
        initializers.append(numpy_helper.from_array(np.asarray(value, dtype=np.float32), name))
        return name

    values = "values"
    if fill is not None:
        nodes.append(helper.make_node("IsNaN", ["values"], ["missing"]))
        nodes.append(helper.make_node("Where", ["missing", number("fill", fill), "values"], ["filled"]))
        values = "filled"
    for k, model in enumerate(models):
        part = compose.add_prefix(model, f"part{k}.")
        nodes.append(helper.make_node("Identity", [values], [part.graph.input[0].name]))
        nodes += part.graph.node
        initializers += part.graph.initializer
        parts.append(part.graph.output[0].name)
        opsets |= {o.domain: max(o.version, opsets.get(o.domain, 0)) for o in part.opset_import}
    nodes.append(helper.make_node("Concat", parts, ["given"], axis=1))
    nodes.append(helper.make_node("MatMul", ["given", number("select", select)], ["selected"]))
    nodes.append(helper.make_node("Add", ["selected", number("constant", constant)], ["whole"]))
    nodes.append(helper.make_node("Max", ["whole", number("low", EPS)], ["above"]))
    nodes.append(helper.make_node("Min", ["above", number("high", 1 - EPS)], ["p"]))
    if kind == "multiclass":
        nodes.append(helper.make_node("Log", ["p"], ["scores"]))
    else:
        nodes.append(helper.make_node("Sub", [number("one", 1), "p"], ["q"]))
        nodes.append(helper.make_node("Log", ["p"], ["log_p"]))
        nodes.append(helper.make_node("Log", ["q"], ["log_q"]))
        nodes.append(helper.make_node("Sub", ["log_p", "log_q"], ["scores"]))
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("values", TensorProto.FLOAT, ["rows", n_features])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["rows", len(constant)])],
        initializers,
    )
    opsets[""] = max(opsets.get("", 0), 13)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid(d, v) for d, v in opsets.items()])
    made.ir_version = max(8, *(model.ir_version for model in models))
    return bytes(made.SerializeToString())


def session(graph: bytes, threads: int) -> Any:
    """An onnxruntime session, on the CPU as all trees are."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def run(opened: Any, x: FloatArray) -> FloatArray:
    """The one output of a session for rows (U, F)."""
    name = opened.get_inputs()[0].name
    return np.asarray(
        opened.run(None, {name: np.ascontiguousarray(x, dtype=np.float32)})[0], dtype=np.float64
    )
