"""ehrbench: hyperparameter search and nested cross-validation for clinical prediction.

``search``, ``open_run`` and ``load`` are the entry points for Python (``ehrbench.app.python.api``), imported
when they are asked for: ``import ehrbench`` itself imports nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ehrbench.app.python.api import load, open_run, search

__version__ = "0.1.0"
__all__ = ["__version__", "load", "open_run", "search"]


def __getattr__(name: str) -> Any:
    if name not in ("load", "open_run", "search"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("ehrbench.app.python.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
