"""Overrides: texts on the command line as the shell gave them, before Hydra reads them.

Hydra's grammar takes ``2024_01_15`` for the number 20240115, ``true`` for a boolean, and stumbles over ``~``,
``#``, ``[``, a quote and any letter beyond ASCII. Where the configuration wants a text (a place, a name), the
argument is put in Hydra's quotes, unless it says something that only Hydra's grammar can say: null, an
interpolation, a sweep.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from ehrbench.app.composed.blocks import BatchPrediction, Evaluation, Settings
from ehrbench.app.composed.sweeping import sweeps
from ehrbench.core.places import home

#: Groups whose keys are names in a person's own data: any may be added, without Hydra's plus.
OWN_NAMES = ("task.columns.", "task.ranges.", "task.units.")

#: Names of columns in a person's own files, one or a list of them.
OWN_COLUMNS = (
    "label",
    "positive",
    "id",
    "group",
    "time",
    "reference",
    "drop",
    "variables",
    "totals",
    "auxiliary",
)


def as_texts(arguments: Sequence[str]) -> list[str]:
    """The command line with its texts quoted; one that has them so stays as it is.

    Raises ConfigError for a ``~name`` that is nobody's home.
    """
    keys = dict(item for blocks in (Settings, Evaluation, BatchPrediction) for item in texts(blocks))
    several = sweeps(arguments)
    return [_as_text(argument, keys, several) for argument in arguments]


def texts(blocks: type[BaseModel], before: str = "") -> Iterator[tuple[str, bool]]:
    """Keys whose values are texts, and whether they are lists of them."""
    for name, field in blocks.model_fields.items():
        for kind, several in _kinds(field.annotation):
            if kind is str:
                yield before + name, several
            elif isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from texts(kind, f"{before}{name}.")


def _kinds(annotation: Any, several: bool = False) -> Iterator[tuple[Any, bool]]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _kinds(arguments[0], several)
    elif origin in (list, Union, UnionType):
        for argument in arguments:
            yield from _kinds(argument, several or origin is list)
    elif origin is None:
        yield annotation, several


def _as_text(argument: str, keys: Mapping[str, bool], sweeps: bool) -> str:
    name, equals, value = argument.partition("=")
    key = name.lstrip("+")
    if equals and key == name and key.startswith(OWN_NAMES):
        return f"++{argument}"
    own = key.removeprefix("task.") in OWN_COLUMNS and key.startswith("task.") and not value.isdigit()
    if not equals or not (key in keys or own):
        return argument
    if value.startswith("[") if own else keys[key]:
        named = [one.strip() for one in value[1:-1].split(",")]
        plain = value[:1] + value[-1:] == "[]" and "" not in named and not set(value[1:-1]) & set("[]{}()'\"")
        return f"{name}=[{','.join(_quoted(one) for one in named)}]" if plain else argument
    if value.startswith("~"):
        value = str(home(value, key))
    return f"{name}={_quoted(value, sweeps)}"


def _quoted(value: str, sweeps: bool = False) -> str:
    """The value, in quotes where Hydra would take it for something else than this text, or not at all."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import ChoiceSweep, Quote, QuotedString
    from hydra.errors import HydraException

    try:
        read = OverridesParser.create().parse_override(f"x={value}").value()
    except HydraException:
        read = 0
    plain_commas = isinstance(read, ChoiceSweep) and read.simple_form and not sweeps
    if isinstance(read, bool | int | float | list | dict) or plain_commas:
        return QuotedString(value, Quote.single).with_quotes()
    return value
