"""Boosted trees from LightGBM's text format, through LightGBM's C library alone.

``import lightgbm`` pulls in scikit-learn and pandas wherever they are installed, which doubles a server's
start and memory. The C API (``LightGBM/c_api.h``) is stable and all that a prediction needs; the shared
library is the one the ``lightgbm`` package ships, found without importing it.

Thread safety: ``scores`` may be called from several threads; LightGBM takes a shared lock.
"""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ehrbench.core.errors import BundleError
from ehrbench.core.types import FloatArray, IntArray

_FLOAT32, _FLOAT64, _INT64 = 0, 1, 3  # C_API_DTYPE_*
_RAW_SCORE, _CONTRIBUTIONS = 1, 3  # C_API_PREDICT_RAW_SCORE, C_API_PREDICT_CONTRIB
_ROW_MAJOR = 1
_ALL_ITERATIONS = -1
#: Of LGBM_BoosterPredictForMat: booster, data, its type, rows, columns, row-major, kind of prediction, first
#: and number of iterations, parameters, length and place of the result.
_PREDICT = (
    *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int32, ctypes.c_int32, ctypes.c_int),
    *(ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p),
)


@cache
def _library() -> ctypes.CDLL:
    """LightGBM's shared library, loaded once; BundleError when the package is not installed."""
    spec = find_spec("lightgbm")
    if spec is None or spec.origin is None:
        raise BundleError(
            "lightgbm is not installed and the bundle holds boosted trees — pip install lightgbm"
        )
    package = Path(spec.origin).parent
    for folder in (package / "lib", package / "bin", package, package.parent):
        for name in ("lib_lightgbm.so", "lib_lightgbm.dylib", "lib_lightgbm.dll"):
            if (folder / name).is_file():
                library = ctypes.CDLL(str(folder / name))
                library.LGBM_GetLastError.restype = ctypes.c_char_p
                library.LGBM_BoosterPredictForMat.argtypes = _PREDICT
                return library
    raise BundleError(f"{package}: holds no lib_lightgbm — install lightgbm again")


class Trees:
    """One booster: (U, F) values, NaN for missing, to (U, C) raw scores."""

    def __init__(self, path: Path, threads: int) -> None:
        self._path, self._handle = path, ctypes.c_void_p()
        self._library = _library()
        self._parameters = f"num_threads={threads} verbosity=-1".encode()
        iterations = ctypes.c_int()
        self._call(
            "LGBM_BoosterLoadModelFromString",
            ctypes.c_char_p(path.read_bytes()),
            ctypes.byref(iterations),
            ctypes.byref(self._handle),
        )
        self.n_features = self._ask("LGBM_BoosterGetNumFeature")
        self.n_classes = self._ask("LGBM_BoosterGetNumClasses")

    def scores(self, values: FloatArray) -> FloatArray:
        """(U, C) raw scores (log-odds, or unnormalised log probabilities)."""
        return self._predicted(values, _RAW_SCORE, (self.n_classes,))

    def contributions(self, values: FloatArray) -> FloatArray:
        """(U, C, F + 1) parts of the raw scores, one a column; the last is what all records have."""
        return self._predicted(values, _CONTRIBUTIONS, (self.n_classes, self.n_features + 1))

    def _predicted(self, values: FloatArray, what: int, shape: tuple[int, ...]) -> FloatArray:
        """(U, *shape)"""
        kind = _FLOAT32 if values.dtype == np.float32 else _FLOAT64
        values = np.ascontiguousarray(values, dtype=np.float32 if kind == _FLOAT32 else np.float64)
        out, length = np.empty((len(values), *shape)), ctypes.c_int64()
        if len(values) == 0:
            return out
        if values.shape[1] != self.n_features:  # before C reads past a row
            raise BundleError(
                f"{self._path}: wants {self.n_features} columns, the view has {values.shape[1]}"
            )
        self._call(
            "LGBM_BoosterPredictForMat",
            self._handle,
            values.ctypes.data,
            kind,
            *values.shape,
            _ROW_MAJOR,
            what,
            0,
            _ALL_ITERATIONS,
            self._parameters,
            ctypes.byref(length),
            out.ctypes.data,
        )
        return out

    def sparse_scores(
        self, data: FloatArray, columns: IntArray, starts: IntArray, n_columns: int
    ) -> FloatArray:
        """(U, C) raw scores of compressed rows; what is not there is 0."""
        out, length = np.empty((len(starts) - 1, self.n_classes)), ctypes.c_int64()
        if len(out) == 0:
            return out
        if n_columns != self.n_features or (
            len(columns) and not 0 <= columns.min() <= columns.max() < n_columns
        ):
            raise BundleError(f"{self._path}: wants {self.n_features} columns, the view has {n_columns}")
        data = np.ascontiguousarray(data, dtype=np.float32)
        columns = np.ascontiguousarray(columns, dtype=np.int32)
        starts = np.ascontiguousarray(starts, dtype=np.int64)
        self._call(
            "LGBM_BoosterPredictForCSR",
            self._handle,
            starts.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_int(_INT64),
            columns.ctypes.data_as(ctypes.c_void_p),
            data.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_int(_FLOAT32),
            ctypes.c_int64(len(starts)),
            ctypes.c_int64(len(data)),
            ctypes.c_int64(n_columns),
            ctypes.c_int(_RAW_SCORE),
            ctypes.c_int(0),
            ctypes.c_int(_ALL_ITERATIONS),
            ctypes.c_char_p(self._parameters),
            ctypes.byref(length),
            out.ctypes.data_as(ctypes.POINTER(ctypes.c_double)),
        )
        return out

    def __del__(self) -> None:
        if self._handle:
            self._library.LGBM_BoosterFree(self._handle)

    def _ask(self, function: str) -> int:
        answer = ctypes.c_int()
        self._call(function, self._handle, ctypes.byref(answer))
        return answer.value

    def _call(self, function: str, *arguments: object) -> None:
        if getattr(self._library, function)(*arguments) != 0:
            reason = self._library.LGBM_GetLastError().decode(errors="replace").strip()
            raise BundleError(f"{self._path}: LightGBM cannot use it ({reason}) — export the bundle again")
