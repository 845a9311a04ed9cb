"""A training session: the process's global state as a fit needs it, and put back as it was.

Torch keeps random generators, thread counts, determinism and precision in globals; a fit must neither depend
on what was there nor leave a trace.
"""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def threads(count: int) -> Iterator[None]:
    """``count`` CPU threads for torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def seeded(seed: int, on_gpu: bool) -> Iterator[None]:
    """Generators seeded inside, restored outside; deterministic kernels on a GPU where they exist.

    CUBLAS_WORKSPACE_CONFIG is read when a process first multiplies on a GPU; of the two values that make
    cuBLAS deterministic (torch.use_deterministic_algorithms), this one does so for cuDNN's LSTM, too
    (torch.nn.LSTM).
    """
    state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 - to leave it as it was
    deterministic, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if on_gpu else []):
        torch.manual_seed(seed)  # seeds the GPUs, too
        if on_gpu:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":16:8")
            torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            random.setstate(state)
            np.random.set_state(numpy_state)  # noqa: NPY002
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)


@contextmanager
def single_precision(on_gpu: bool) -> Iterator[None]:
    """Products of single numbers on a GPU in single precision, inside; as it was outside.

    cuDNN takes TF32 for them unless told otherwise, 11 of 24 bits: dssm's probabilities were off by 0.01 on
    an H200. What autocast turns into bf16 is not touched. Both settings are torch's older ones, which all
    versions that are allowed here know.
    """
    if not on_gpu:
        yield
        return
    cudnn, matmul = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = cudnn
        torch.set_float32_matmul_precision(matmul)


@contextmanager
def quiet() -> Iterator[None]:
    """Torch's warnings off: they speak to who writes networks, and not to who searches."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"torch\b")
        warnings.filterwarnings("ignore", message=".*does not have a deterministic implementation")
        yield


@contextmanager
def gpu_memory(on_gpu: bool) -> Iterator[None]:
    """What torch holds for the last fit on a GPU is freed before; a GPU that is full is said in one line.

    MemoryError, and no FitError: another process may leave the GPU, so the trial is tried again.
    """
    if on_gpu:
        torch.cuda.empty_cache()
    try:
        yield
    except torch.OutOfMemoryError as error:
        said = str(error).split(". ")[1:2] or [str(error)]
        raise MemoryError(
            f"the GPU's memory is full ({said[0]}) — lower batch_size, width or n_layers, "
            "or end what else runs on it"
        ) from None
