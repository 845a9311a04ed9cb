"""Metrics: one file each, named as the metric, holding one ``core.metric.Metric``.

There is no registry: a file put here is found by its name.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from ehrbench.core.errors import ConfigError
from ehrbench.core.metric import Metric


def names() -> list[str]:
    """Names of all metrics, sorted; files that begin with ``_`` are their common ground, not metrics."""
    return sorted(f.stem for f in Path(__file__).parent.glob("*.py") if not f.stem.startswith("_"))


def load(name: str) -> Metric:
    """The metric called ``name``.

    Raises ConfigError listing the metrics there are when there is no such file.
    """
    if name not in names():
        raise ConfigError("metric", f"there is no metric {name!r}", f"choose one of {', '.join(names())}")
    module = import_module(f"{__name__}.{name}")
    classes = [
        c
        for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, Metric) and c.__module__ == module.__name__
    ]
    if len(classes) != 1 or classes[0].name != name:
        found = ", ".join(f"{c.__name__} (name {c.name!r})" for c in classes) or "none"
        raise ConfigError(
            "metric", f"{module.__file__} must define one Metric named {name!r}, and has {found}", "mend it"
        )
    return classes[0]()
