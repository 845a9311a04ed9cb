"""Plugins: packages outside this one that bring models, features, metrics or tasks, with their YAML.

An installed one says so by an entry point of the group ``ehrbench.plugins``, whose value is the package;
others are named by whoever gives the command, in ``plugins=[...]`` or EHRBENCH_PLUGINS. Only what the machine
or the command says is ever imported: a run's folder and a bundle are data, and may not choose what runs.

    my_package/conf/model/NAME.yaml, conf/task/NAME.yaml, …   found as those of conf/ are
    my_package/metrics/NAME.py                                a metric of that name
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path

from ehrbench.core.errors import ConfigError

#: Of entry points, and the variable that names further packages, with commas between.
GROUP, NAMED = "ehrbench.plugins", "EHRBENCH_PLUGINS"


def use(names: Iterable[str]) -> None:
    """Name plugins for this process and those it starts, beside those there are. Raises as ``packages``."""
    named = ",".join(dict.fromkeys((*_named(os.environ.get(NAMED, "")), *names)))
    _packages(named, tuple(sys.path))  # before it is said to anyone
    os.environ[NAMED] = named


def packages() -> tuple[str, ...]:
    """Import paths of all plugins. Raises ConfigError for a name that is no package here."""
    return _packages(os.environ.get(NAMED, ""), tuple(sys.path))


@functools.lru_cache(maxsize=8)
def _packages(named: str, path: tuple[str, ...]) -> tuple[str, ...]:
    """path: where Python looks; with another one, others are found."""
    installed = (point.module for point in metadata.entry_points(group=GROUP))
    found = tuple(dict.fromkeys((*installed, *_named(named))))
    for name in found:
        if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", name):
            raise ConfigError("plugins", f"{name!r} is no package's name", "write plugins=[my_package]")
        if not folders_of(name):
            problem = f"there is no package {name}"
            raise ConfigError("plugins", problem, "install it, or put the folder it lies in on PYTHONPATH")
    return found


def _named(text: str) -> Sequence[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def folders_of(package: str) -> list[Path]:
    """The folders of a package; none where it is not installed, or a single file."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return []
    return [Path(place) for place in (spec and spec.submodule_search_locations) or ()]


def configurations() -> list[Path]:
    """The plugins' folders of YAML."""
    found = (folder / "conf" for package in packages() for folder in folders_of(package))
    return [folder for folder in found if folder.is_dir()]


def brings(path: str) -> bool:
    """Whether an import path lies in a plugin."""
    return any(path.startswith(f"{package}.") for package in packages())


def version(package: str) -> str:
    """A plugin's version: of its installation, else as it says itself."""
    for point in metadata.entry_points(group=GROUP):
        if point.module == package and point.dist is not None:
            return point.dist.version
    return str(getattr(import_module(package), "__version__", "unknown"))
