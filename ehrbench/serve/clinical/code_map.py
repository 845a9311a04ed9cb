"""CodeMap: which codes and units of FHIR Observations are which values of a task's records.

A YAML (``maps/mortality.yaml`` is the package's own) that a hospital reads, corrects and names by ``--fhir``.
Whatever it does not name is refused where it comes: a value in another unit, or under another code, that was
guessed would be worse than none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ehrbench.core.errors import ConfigError

MAPS = Path(__file__).with_name("maps")


class _MapBlock(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Code(_MapBlock):
    """What an Observation of one code becomes: a measured parameter, a descriptor, or both.

    units: UCUM code to factor, or to factor and what is added after it.
    """

    parameter: str | None = None
    descriptor: str | None = None
    units: Annotated[dict[str, float | list[float]], Field(min_length=1)]

    def converted(self, value: float, unit: str) -> float | None:
        """In the task's unit; None for a unit that is not named."""
        if (found := self.units.get(unit)) is None:
            return None
        factor, added = found if isinstance(found, list) else (found, 0.0)
        return value * factor + added


class _Content(_MapBlock):
    fhir: str
    task: str
    system: str
    panels: list[str] = []
    ignored: list[str] = []
    codes: dict[str, Code]


@dataclass(frozen=True)
class CodeMap:
    """fhir: the version it is of; system: of the codes; panels: codes whose components are read.

    ignored: codes that may come, and are nothing of the task's.
    """

    fhir: str
    task: str
    system: str
    panels: frozenset[str]
    ignored: frozenset[str]
    codes: Mapping[str, Code]

    @staticmethod
    def read(path: Path) -> CodeMap:
        """Raises ConfigError naming the file and the key that cannot be used."""
        try:
            content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
            found = _Content.model_validate(content)
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(str(path), f"cannot be read ({reason})", _REMEDY) from error
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise ConfigError(f"{path}: {key}", first["msg"].lower(), _REMEDY) from None
        for code, meant in found.codes.items():
            if meant.parameter is None and meant.descriptor is None:
                raise ConfigError(f"{path}: codes.{code}", "is nothing", "name a parameter or a descriptor")
            if any(isinstance(unit, list) and len(unit) != 2 for unit in meant.units.values()):
                raise ConfigError(f"{path}: codes.{code}.units", "is no conversion", "give [FACTOR, ADDED]")
        return CodeMap(
            found.fhir,
            found.task,
            found.system,
            frozenset(found.panels),
            frozenset(found.ignored),
            found.codes,
        )


_REMEDY = f"begin with a copy of {MAPS.name}/mortality.yaml"


def code_maps(own: Path | None = None) -> dict[str, CodeMap]:
    """Task -> map: the package's, and one's own in the place of its task's."""
    maps = [CodeMap.read(path) for path in (*sorted(MAPS.glob("*.yaml")), *([] if own is None else [own]))]
    return {one.task: one for one in maps}
