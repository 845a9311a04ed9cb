"""Checks of a model's settings: each failure is a ConfigError that names the key."""

from __future__ import annotations

from collections.abc import Collection

from ehrbench.core.errors import ConfigError


def check_range(key: str, value: float, low: float, high: float) -> None:
    """Raise unless low <= value <= high, numbers both."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not low <= value <= high:
        raise ConfigError(key, f"{value!r} is not a number from {low:g} to {high:g}", "change its value")


def check_integer(key: str, value: int, low: int, high: int) -> None:
    """Raise unless value is a whole number from low to high."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(key, f"{value!r} is not a whole number from {low} to {high}", "change its value")


def check_choice(key: str, value: object, choices: Collection[object]) -> None:
    """Raise unless value is one of the choices."""
    if value not in choices:
        raise ConfigError(key, f"{value!r} is none of {', '.join(map(str, choices))}", "take one of these")


def check_flag(key: str, value: object) -> None:
    """Raise unless value is true or false."""
    if not isinstance(value, bool):
        raise ConfigError(key, f"{value!r} is neither true nor false", "change its value")


def check_multiple(key: str, value: int, of_key: str, of: int) -> None:
    """Raise unless value is a multiple of the setting ``of_key``."""
    if value % of:
        raise ConfigError(key, f"{value} is not a multiple of {of_key} ({of})", f"change {key} or {of_key}")
