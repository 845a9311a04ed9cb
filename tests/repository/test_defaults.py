"""A default has one home: a model's YAML, which its class repeats for those who build it without one.

What is not a model's own (accelerator, threads) is the configuration's ``trainer``.
"""

from __future__ import annotations

import inspect

import pytest

from tests.models.configured import NAMES, configuration, model_class

#: Those with a class of their own; others are variants of another model's.
OWN = [name for name in NAMES if model_class(name).__module__.endswith(f".{name}")]


@pytest.mark.parametrize("name", OWN)
def test_a_class_s_defaults_are_its_yaml_s(name: str) -> None:
    given = {k: v for k, v in configuration(name)["build"].items() if k not in ("accelerator", "threads")}
    parameters = inspect.signature(model_class(name)).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty and p.name in given}
    assert {k: list(v) if isinstance(v, tuple) else v for k, v in defaults.items()} == {
        key: given[key] for key in defaults
    }
