"""Reads and runs bundles with numpy, onnxruntime and LightGBM's C library; never torch or scikit-learn."""

from ehrbench.runtime.bundle import Bundle, Prediction

__all__ = ["Bundle", "Prediction"]
