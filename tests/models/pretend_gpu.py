"""A pretend GPU: tensors that claim to lie on ``cuda:0``, hold real numbers in ordinary memory, and refuse
what a GPU would refuse.

Every operation on them is seen by ``__torch_dispatch__``. One that mixes them with tensors of the CPU raises
as PyTorch does (single numbers may mix, indices may lie on the CPU); everything else is computed on the CPU,
so a whole fit runs, and its figures can be held against the CPU's. A CUDA graph is pretended, too
(``pretend_graph.py``). Autograd, autocast and the choice of
kernels see the device ``cuda`` and go the GPU's way: fused LSTM cells, fused dropout. What it cannot show:
cuDNN, and rounding, memory and speed of real kernels.

Torch asks the CUDA backend for a few things before it dispatches, and none is built into a CPU's torch.
``pretend_gpu.cpp`` answers, for the whole process, so ``build`` gives a library to start one with
(LD_PRELOAD).
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from tests.models import pretend_graph

aten = torch.ops.aten
GPU = torch.device("cuda", 0)
#: Take tensors of the CPU beside those of the GPU: copies always, indexing where the indexed lies on the GPU.
_COPIES = {aten.copy_.default, aten._to_copy.default}
_INDEXING = {aten.index.Tensor, aten.index_put_.default}
_MATH = 0  # of scaled_dot_product_attention: the backend without a kernel of its own


class OnGpu(Tensor):
    """``held``: the numbers, on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> OnGpu:
        made = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=GPU,
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"OnGpu({self.held})"

    __torch_function__ = torch._C._disabled_torch_function_impl


class _Factories(TorchDispatchMode):
    """Sees what no OnGpu takes part in: tensors made on the GPU, or sent there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


class _Numbered(TorchFunctionMode):
    """What torch does before it dispatches: ``cuda`` becomes ``cuda:0``, and literals become tensors."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = map(_numbered, args), {name: _numbered(x) for name, x in (kwargs or {}).items()}
        if func is torch.tensor and kwargs.get("device") == GPU:
            return func(*args, **{**kwargs, "device": "cpu"}).to(GPU)
        return func(*args, **kwargs)


def _numbered(x: Any) -> Any:
    return GPU if isinstance(x, torch.device) and x.type == "cuda" else x


def _computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """``func`` on the numbers, its results on the device that PyTorch would leave them on."""
    gpu: list[OnGpu] = []
    cpu: list[Tensor] = []

    def plain(x: Any) -> Any:
        if isinstance(x, OnGpu):
            gpu.append(x)
            return x.held
        if isinstance(x, Tensor):
            cpu.append(x)
        return torch.device("cpu") if isinstance(x, torch.device) else x

    plain_args, plain_kwargs = _each(plain, args), _each(plain, kwargs)
    may_mix = func in _COPIES or (func in _INDEXING and isinstance(args[0], OnGpu))
    if gpu and not may_mix and any(x.dim() for x in cpu):
        raise RuntimeError(f"{func}: Expected all tensors to be on the same device, found cuda:0 and cpu")
    if func is aten._fused_sdp_choice.default:
        return _MATH
    wanted = kwargs.get("device")
    capture = pretend_graph.capturing()
    if capture is not None:
        capture.check(func, [x for x in cpu if func in _COPIES and x.dim()])
    lands = bool(gpu) if wanted is None else torch.device(wanted).type == "cuda"
    kernel = _KERNELS.get(func, func)
    if capture is None:
        found = kernel(*plain_args, **plain_kwargs)
    else:
        found = capture.call(kernel, plain_args, plain_kwargs, changes=func._schema.is_mutable)
    if gpu and torch.Tag.inplace_view in func.tags:
        with no_dispatch():  # another shape in place: of what stands for the numbers, too
            func(*args, **kwargs)
    owners = {id(x.held): x for x in gpu}  # what is changed in place is returned as it came

    def landed(x: Any) -> Any:
        if isinstance(x, Tensor) and lands and func is not aten.copy_.default:
            return owners[id(x)] if id(x) in owners else OnGpu(x)
        return x

    return args[0] if func is aten.copy_.default else _each(landed, found)


def _each(call: Any, x: Any) -> Any:
    """``call`` of each thing that an operator takes or gives, in lists, tuples and dictionaries too.

    torch's own ``tree_map`` knows more kinds of containers, and would take most of a fit's time.
    """
    if type(x) in (tuple, list):
        return type(x)([_each(call, y) for y in x])
    return {name: _each(call, y) for name, y in x.items()} if type(x) is dict else call(x)


def _lstm_cell(
    input_gates: Tensor,
    hidden_gates: Tensor,
    cx: Tensor,
    input_bias: Tensor | None = None,
    hidden_bias: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The fused cell that only GPUs have: h, c, and the four gates for its backward pass."""
    gates = input_gates + hidden_gates
    for bias in (input_bias, hidden_bias):
        gates = gates if bias is None else gates + bias
    i, f, g, o = gates.chunk(4, 1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    cy = f * cx + i * g
    return o * cy.tanh(), cy, torch.cat([i, f, g, o], 1)


def _lstm_cell_backward(
    grad_hy: Tensor | None, grad_cy: Tensor | None, cx: Tensor, cy: Tensor, workspace: Tensor, has_bias: bool
) -> tuple[Tensor, Tensor, Tensor]:
    i, f, g, o = workspace.chunk(4, 1)
    through = cy.tanh()
    of_h = torch.zeros_like(cy) if grad_hy is None else grad_hy
    of_c = of_h * o * (1 - through.square()) + (0 if grad_cy is None else grad_cy)
    parts = [of_c * g * i * (1 - i), of_c * cx * f * (1 - f), of_c * i * (1 - g.square())]
    gates = torch.cat([*parts, of_h * through * o * (1 - o)], 1)
    return gates, of_c * f, gates.sum(0) if has_bias else gates.new_empty(0)


def _gru_cell(
    input_gates: Tensor,
    hidden_gates: Tensor,
    hx: Tensor,
    input_bias: Tensor | None = None,
    hidden_bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The fused cell that only GPUs have: h, and what its backward pass needs."""
    given = input_gates if input_bias is None else input_gates + input_bias
    of_h = hidden_gates if hidden_bias is None else hidden_gates + hidden_bias
    (r, z, n), (hr, hz, hn) = given.chunk(3, 1), of_h.chunk(3, 1)
    r, z = (r + hr).sigmoid(), (z + hz).sigmoid()
    n = (n + r * hn).tanh()
    return n + z * (hx - n), torch.cat([r, z, n, hx, hn], 1)


def _gru_cell_backward(
    grad_hy: Tensor, workspace: Tensor, has_bias: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    r, z, n, hx, hn = workspace.chunk(5, 1)
    of_n = grad_hy * (1 - z) * (1 - n.square())
    of_z = grad_hy * (hx - n) * z * (1 - z)
    of_r = of_n * hn * r * (1 - r)
    given, of_h = torch.cat([of_r, of_z, of_n], 1), torch.cat([of_r, of_z, of_n * r], 1)
    biases = (given.sum(0), of_h.sum(0)) if has_bias else (None, None)
    return given, of_h, grad_hy * z, *biases


_KERNELS: dict[Any, Any] = {
    aten._thnn_fused_gru_cell.default: _gru_cell,
    aten._thnn_fused_gru_cell_backward.default: _gru_cell_backward,
    aten._thnn_fused_lstm_cell.default: _lstm_cell,
    aten._thnn_fused_lstm_cell_backward_impl.default: _lstm_cell_backward,
}


def _off_gpu(call: Any) -> Any:
    """``call`` as a tracer needs it, unseen by anybody: for tensors of the CPU only."""

    def called(*args: Any, **kwargs: Any) -> Any:
        with _disable_current_modes(), torch._C.DisableTorchFunction():
            return call(*args, **kwargs)

    return called


@contextmanager
def pretend_gpu(*, bf16: bool = True) -> Iterator[None]:
    """Inside, torch sees one GPU. bf16: whether it has that type.

    The driver's calls, which need a real one, do nothing; everything of ours and torch's above them
    runs as it is.
    """
    driver: dict[str, Any] = {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_bf16_supported": lambda *_, **__: bf16,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda *_: None,
        "get_device_capability": lambda *_: (8, 0),
        "get_device_name": lambda *_: "a pretend GPU",
        "get_rng_state": lambda *_: torch.empty(0),
        "set_rng_state": lambda *_: None,
        "manual_seed_all": lambda *_: None,
        "empty_cache": lambda: None,
        "reset_peak_memory_stats": lambda *_: None,
        **pretend_graph.DRIVER,
    }
    with ExitStack() as stack:
        # modules that move get new parameters: set in place, they would forget what they hold
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, False)
        for name, call in driver.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, call))
        # a backward thread for each device is started by the driver
        stack.enter_context(torch.autograd.set_multithreading_enabled(False))
        # tensors of subclasses cannot be views in inference mode
        stack.enter_context(mock.patch.object(torch, "inference_mode", torch.no_grad))
        stack.enter_context(mock.patch.object(torch.onnx, "export", _off_gpu(torch.onnx.export)))
        stack.enter_context(_Numbered())
        stack.enter_context(_Factories())
        yield


def build(folder: Path) -> Path:
    """The library of ``pretend_gpu.cpp``, made by g++ from torch's headers in about two seconds."""
    from torch.utils.cpp_extension import include_paths, library_paths

    library = folder / "pretend_gpu.so"
    headers, (shared,) = (f"-I{path}" for path in include_paths()), library_paths()
    linked = [f"-L{shared}", f"-Wl,-rpath,{shared}", "-lc10", "-ltorch_cpu"]
    source = str(Path(__file__).with_suffix(".cpp"))
    options = ["-std=c++20", "-O0", "-shared", "-fPIC"]
    subprocess.run(["g++", *options, *headers, source, "-o", str(library), *linked], check=True)
    return library
