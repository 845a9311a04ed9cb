"""Explanations of a finished search: what its outer-test predictions rest on. Changes nothing it explains."""

from ehrbench.explain.explaining import SCHEMA, explain

__all__ = ["SCHEMA", "explain"]
