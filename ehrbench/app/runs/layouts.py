"""Layouts: a bundle as other servers want their models: MLflow's pyfunc, and Triton's model repository.

Both hold the whole bundle as it is, so that what they say is what it says; checksums stay good.

    pyfunc    MLmodel, python_env.yaml, requirements.txt, bundle/     no pickle: MLmodel names a loader
    triton    <study>/config.pbtxt, 1/model.py, 1/bundle/             parses, makes features, combines
              <study>-<model>-<k>/config.pbtxt, 1/model.onnx          a network, asked by the former

Of Triton's backends the Python one runs what parses and combines, with this package installed beside it; it
asks the networks through Triton, which may batch them and put them on a GPU. Boosted trees stay in the Python
model: Triton's own backend for them takes no missing values of categories as LightGBM means them.
"""

from __future__ import annotations

import re
import shutil
from importlib.metadata import version
from pathlib import Path

from ehrbench.core.errors import BundleError
from ehrbench.runtime.bundle import Bundle
from ehrbench.runtime.runners import OnnxRunner

LAYOUTS = ("bundle", "triton", "pyfunc")
_TYPES = {
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(int64)": "TYPE_INT64",
    "tensor(int32)": "TYPE_INT32",
    "tensor(uint8)": "TYPE_UINT8",
}


def lay_out(bundle: Bundle, layout: str, target: Path) -> None:
    """Write the bundle so to the new folder ``target``. Raises BundleError where something is there."""
    if target.exists():
        raise BundleError(f"{target}: exists — name a new folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    {"bundle": _as_it_is, "triton": _triton, "pyfunc": _pyfunc}[layout](bundle, target)


def _as_it_is(bundle: Bundle, target: Path) -> None:
    shutil.copytree(bundle.directory, target)


def _pyfunc(bundle: Bundle, target: Path) -> None:
    import mlflow.pyfunc

    mlflow.pyfunc.save_model(
        path=target,
        loader_module="ehrbench.app.python.pyfunc",
        data_path=str(bundle.directory),
        pip_requirements=[f"ehrbench=={version('ehrbench')}"],
    )


def _triton(bundle: Bundle, target: Path) -> None:
    name = _plain(bundle.manifest.study_name)
    asked = {m.folder: m for members in bundle.models.values() for m in members}
    networks = {
        folder: f"{name}-{_plain('-'.join(Path(folder).parts[1:]))}"
        for folder, member in asked.items()
        if isinstance(member.runner, OnnxRunner)
    }
    for folder, network in networks.items():
        place = target / network / "1"
        place.mkdir(parents=True)
        shutil.copyfile(bundle.directory / folder / "model.onnx", place / "model.onnx")
        runner = asked[folder].runner
        assert isinstance(runner, OnnxRunner)
        (place.parent / "config.pbtxt").write_text(_network_config(network, runner), encoding="utf-8")
    place = target / name / "1"
    shutil.copytree(bundle.directory, place / "bundle")
    shutil.copyfile(Path(__file__).with_name("triton_model.py"), place / "model.py")
    text = _whole_config(name, bundle.manifest.target.n_classes, networks)
    (place.parent / "config.pbtxt").write_text(text, encoding="utf-8")


def _plain(name: str) -> str:
    """A name that is a folder's and a URL's part."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "model"


def _network_config(name: str, runner: OnnxRunner) -> str:
    inputs, outputs = runner.ports()
    return (
        f'name: "{name}"\nbackend: "onnxruntime"\nmax_batch_size: 0\n'
        f"input [\n{_tensors(inputs)}\n]\noutput [\n{_tensors(outputs)}\n]\n"
    )


def _tensors(ports: dict[str, tuple[str, list[int]]]) -> str:
    told = [
        f'  {{ name: "{name}" data_type: {_TYPES[kind]} dims: [ {", ".join(map(str, shape))} ] }}'
        for name, (kind, shape) in ports.items()
    ]
    return ",\n".join(told)


def _whole_config(name: str, n_classes: int, networks: dict[str, str]) -> str:
    parameters = "".join(
        f'parameters {{ key: "{folder}" value {{ string_value: "{network}" }} }}\n'
        for folder, network in networks.items()
    )
    return (
        f'name: "{name}"\nbackend: "python"\nmax_batch_size: 0\n'
        'input [ { name: "record" data_type: TYPE_STRING dims: [ -1 ] } ]\n'
        f'output [\n  {{ name: "probability" data_type: TYPE_FP64 dims: [ -1, {n_classes} ] }},\n'
        f'  {{ name: "called" data_type: TYPE_BOOL dims: [ -1, {n_classes} ] }},\n'
        '  { name: "record_of_unit" data_type: TYPE_INT64 dims: [ -1 ] }\n]\n'
        f"instance_group [ {{ kind: KIND_CPU }} ]\n{parameters}"
    )
