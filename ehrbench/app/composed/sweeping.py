"""Sweeps: what ``-m`` makes of one command, and that none of its jobs writes over another's files."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ehrbench.core.errors import ConfigError

#: Command -> keys that say where a job writes; the first is the one to change.
_PLACES: dict[str, tuple[str, ...]] = {
    "search": ("study_name", "runs_dir"),
    "train": ("study_name", "runs_dir"),
}
_PLACES |= {"evaluate": ("output",), "predict": ("output",)}
#: Command -> keys that its own name for a place is made of, where none is given; train's is made of all.
_NAMING = {"search": {"task", "protocol"}, "evaluate": {"bundle", "data.sets"}}


def sweeps(arguments: Sequence[str]) -> bool:
    """Whether Hydra makes several jobs of the command."""
    return not {"-m", "--multirun", "hydra.mode=MULTIRUN"}.isdisjoint(arguments)


def check_sweep(command: str, arguments: Sequence[str]) -> None:
    """ConfigError where two jobs of a sweep would write into one place. Workers of one search may."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    if not sweeps(arguments):
        return
    given: dict[str, str] = {}
    swept: set[str] = set()
    for argument in arguments[1:]:
        try:
            override = OverridesParser.create().parse_override(argument)
        except HydraException:  # an option; what cannot be read, Hydra refuses
            continue
        given[override.key_or_group] = argument.partition("=")[2].strip("'\"")
        if override.is_sweep_override() and not override.key_or_group.startswith("hydra"):
            swept.add(override.key_or_group)
    key, *others = _PLACES[command]
    named = given.get(key, "null") != "null"
    if not named and command == "train":
        return
    places = " ".join(given.get(one, "") for one in (key, *others))
    told = {key, *others, *re.findall(r"\$\{([\w.]+)\}", places)} | (set() if named else _NAMING[command])
    shared = sorted(swept - told)
    if shared and "worker" not in swept and not re.search(r"\$\{hydra[:.]job\.(num|id)\}", places):
        problem = f"jobs of the sweep over {', '.join(shared)} would write over each other's files"
        example = "'runs/out-${hydra:job.num}'" if key == "output" else "'NAME-${hydra:job.num}'"
        raise ConfigError(key, problem, f"give each job its own, for example {key}={example}")
