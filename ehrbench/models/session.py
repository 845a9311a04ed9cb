"""A training session: the process's global state as a fit needs it, and put back as it was.

Lightning and torch keep random generators, thread counts, determinism, precision and log levels in globals; a
fit must neither depend on what was there nor leave a trace.
"""

from __future__ import annotations

import gc
import logging
import os
import random
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

_LOUD = ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric")


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
    an H200. What autocast turns into bf16 is not touched. Both settings are torch's older ones: the newer,
    one for each operation, make these raise wherever Lightning reads them.
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
    """Lightning's banners, tips and warnings off; Ctrl-C stays a KeyboardInterrupt.

    Lightning answers Ctrl-C by disabling SIGINT and ``sys.exit(1)``, which would hide it from the search.
    """
    loggers = [logging.getLogger(name) for name in _LOUD]
    levels = [logger.level for logger in loggers]
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if in_main else None
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", module=r"(pytorch_lightning|lightning_fabric|lightning|torch)\b"
            )
            warnings.filterwarnings("ignore", message=".*does not have a deterministic implementation")
            yield
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise
    finally:
        if in_main and handler is not None:
            signal.signal(signal.SIGINT, handler)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def gpu_memory(on_gpu: bool) -> Iterator[None]:
    """What the last fit left on a GPU is freed before; a GPU that is full is said in one line.

    Lightning's trainer and module hold each other, and with them a fold's batches, until Python looks for
    such rings. MemoryError, and no FitError: another process may leave the GPU, so the trial is tried again.
    """
    if on_gpu:
        gc.collect()
        torch.cuda.empty_cache()
    try:
        yield
    except torch.OutOfMemoryError as error:
        said = str(error).split(". ")[1:2] or [str(error)]
        raise MemoryError(
            f"the GPU's memory is full ({said[0]}) — lower batch_size, width or n_layers, "
            "or end what else runs on it"
        ) from None
