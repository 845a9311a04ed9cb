"""Metrics: one file each, named as the metric, holding one ``core.metric.Metric``.

There is no registry: a file put here, or into the folder ``metrics`` of a plugin, is found by its name.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from ehrbench.core.errors import ConfigError
from ehrbench.core.metric import Metric
from ehrbench.core.plugins import folders_of, packages


def names() -> list[str]:
    """Names of all metrics, sorted; files that begin with ``_`` are their common ground, not metrics."""
    return sorted(_modules())


def _modules() -> dict[str, str]:
    """Name of a metric -> the module that holds it; ehrbench's own before those of plugins."""
    folders = [(__name__, Path(__file__).parent)]
    folders += [(f"{package}.metrics", f / "metrics") for package in packages() for f in folders_of(package)]
    found: dict[str, str] = {}
    for package, folder in folders:
        for file in sorted(folder.glob("[!_]*.py")):
            found.setdefault(file.stem, f"{package}.{file.stem}")
    return found


def load(name: str) -> Metric:
    """The metric called ``name``.

    Raises ConfigError listing the metrics there are when there is no such file.
    """
    modules = _modules()
    if name not in modules:
        choices = ", ".join(sorted(modules))
        raise ConfigError("metric", f"there is no metric {name!r}", f"choose one of {choices}")
    module = import_module(modules[name])
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
