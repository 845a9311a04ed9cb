"""HTTP on a bundle: one FastAPI app that predicts from a publisher's raw record."""

from ehrbench.serve.app import create_app
from ehrbench.serve.limits import ServeSettings

__all__ = ["ServeSettings", "create_app"]
