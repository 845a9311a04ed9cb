"""Deployments: which bundles a server answers with, by alias, and how they change while it answers.

Three ways to name them, all watched, so that moving an alias is all it takes to deploy:

    runs/icu/bundle         one bundle, as `champion`; a link may be moved to another
    deployed/               a folder of bundles or links: each entry's name is an alias
    deployments.yaml        aliases: {champion: FOLDER, challenger: FOLDER}
                            canary: {challenger: 0.1}    that share of requests is answered by it
                            shadow: {challenger: 1.0}    that share is predicted by it, too, and compared

An alias moves only to a bundle that was opened, checked and tested; until then, and for ever where it cannot
be used, the one before it answers. Whoever predicts holds the deployment it began with.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

import yaml

from ehrbench.core.bundle import bundle_folder, file_digest
from ehrbench.core.errors import ConfigError, EhrbenchError
from ehrbench.core.files import CHECKSUMS
from ehrbench.runtime import Bundle
from ehrbench.serve.limits import ServeSettings

log = logging.getLogger("ehrbench.serve")
CHAMPION = "champion"
#: Before a bundle that could not be opened is tried again: it may still be copied.
AGAIN_S = 20.0


@dataclass(frozen=True)
class DeploymentPlan:
    """Alias to folder; canary and shadow: alias to the share of requests."""

    folders: Mapping[str, Path]
    canary: Mapping[str, float] = field(default_factory=dict)
    shadow: Mapping[str, float] = field(default_factory=dict)

    @staticmethod
    def read(place: Path) -> DeploymentPlan:
        """What stands at ``place`` now. ConfigError naming the file and key that cannot be used."""
        if place.is_file():
            return _of_yaml(place)
        if not (place / CHAMPION).is_dir():
            return DeploymentPlan({CHAMPION: place})
        folders = {one.name: one for one in sorted(place.iterdir()) if one.is_dir() and one.name[0] != "."}
        return DeploymentPlan(folders)


def _of_yaml(place: Path) -> DeploymentPlan:
    try:
        content = yaml.safe_load(place.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            str(place), f"cannot be read ({reason})", "write aliases: {champion: FOLDER}"
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get("aliases"), dict):
        raise ConfigError(str(place), "has no aliases", "write aliases: {champion: FOLDER}")
    for key in content.keys() - {"aliases", "canary", "shadow"}:
        raise ConfigError(f"{place}: {key}", "is unknown", "give aliases, canary and shadow")
    folders = {}
    for alias, folder in content["aliases"].items():
        if not isinstance(folder, str) or not folder:
            raise ConfigError(f"{place}: aliases.{alias}", "is no folder", "name the folder of a bundle")
        folders[str(alias)] = place.parent / Path(folder).expanduser()
    shares = {key: _shares(place, key, content.get(key) or {}, folders) for key in ("canary", "shadow")}
    if CHAMPION not in folders:
        raise ConfigError(f"{place}: aliases", f"has no {CHAMPION}", "name the bundle that answers so")
    return DeploymentPlan(folders, **shares)


def _shares(place: Path, key: str, given: Any, folders: Mapping[str, Path]) -> dict[str, float]:
    if not isinstance(given, dict):
        raise ConfigError(f"{place}: {key}", "is no mapping", f"write {key}: {{challenger: 0.1}}")
    for alias, share in given.items():
        where = f"{place}: {key}.{alias}"
        if alias not in folders or alias == CHAMPION:
            remedy = f"name an alias beside {CHAMPION}"
            raise ConfigError(
                where, "is none of the aliases" if alias not in folders else "answers anyway", remedy
            )
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise ConfigError(where, f"{share!r} is no share", "give a number from 0 to 1")
    if sum(given.values()) > 1:
        raise ConfigError(
            f"{place}: {key}", "gives away more than all requests", "let shares sum to 1 at most"
        )
    return {str(alias): float(share) for alias, share in given.items()}


@dataclass(frozen=True, eq=False)
class Deployment:
    """One opened bundle under its alias; difference: of its self-test; stamp: by which a change is seen."""

    alias: str
    bundle: Bundle
    difference: float
    stamp: tuple[str, str]
    since: datetime


class Deployments:
    """The deployments that answer now. ``refresh`` is called by one thread at a time; reading by any."""

    def __init__(self, place: Path, settings: ServeSettings) -> None:
        self.place, self.settings = place, settings
        self.plan = DeploymentPlan({})
        #: Replaced, never changed: readers see one state. problems: alias or place to what is wrong with it.
        self.current: Mapping[str, Deployment] = {}
        self.problems: Mapping[str, str] = {}
        self._refused: dict[str, tuple[tuple[str, str], float]] = {}  # alias to stamp, and when to try again

    def refresh(self, first: bool = False) -> bool:
        """Open what has moved; whether anything did. ``first``: raise what keeps the champion closed."""
        try:
            plan = DeploymentPlan.read(self.place)
        except ConfigError as error:
            if first:
                raise
            self.problems = {**self.problems, str(self.place): str(error)}
            return False
        current, problems = dict(self.current), dict[str, str]()
        for alias, folder in plan.folders.items():
            stamp = _stamp(folder)
            if alias in current and current[alias].stamp == stamp:
                continue
            refused, again_at = self._refused.get(alias, (("", ""), 0.0))
            if refused == stamp and time.monotonic() < again_at:
                problems[alias] = self.problems[alias]
                continue
            try:
                current[alias] = self._opened(alias, folder, stamp)
            except (EhrbenchError, OSError) as error:
                if first and alias == CHAMPION:
                    raise
                problems[alias] = str(error)
                self._refused[alias] = stamp, time.monotonic() + AGAIN_S
                if self.problems.get(alias) != str(error):
                    log.error("not deployed", extra={"fields": {"alias": alias, "problem": str(error)}})
        current = {alias: found for alias, found in current.items() if alias in plan.folders}
        for alias in {*plan.canary, *plan.shadow} & current.keys():
            if not alike(current[CHAMPION].bundle, current[alias].bundle):
                problems[alias] = f"is of another task than {CHAMPION}'s and gets none of its requests"
        moved = current != self.current
        self.plan, self.problems, self.current = plan, problems, current
        return moved

    def _opened(self, alias: str, folder: Path, stamp: tuple[str, str]) -> Deployment:
        device = cast(Literal["cpu", "cuda"], self.settings.device)
        bundle = Bundle.load(folder, threads=self.settings.threads, device=device)
        found = Deployment(alias, bundle, bundle.self_test(), stamp, datetime.now(UTC))
        fields = {"alias": alias, "version": bundle.digest, "cohort": bundle.manifest.cohort}
        log.info("deployed", extra={"fields": {**fields, "difference": found.difference}})
        return found

    def share_of(self, kind: Mapping[str, float], chance: float) -> Deployment | None:
        """The challenger that a request gets which drew ``chance`` from [0, 1); None: it gets none.

        One of another task than the champion's cannot answer the same records, and never does.
        """
        current, reached = self.current, 0.0
        for alias, share in kind.items():
            reached += share
            if chance < reached:
                found = current.get(alias)
                return found if found and alike(current[CHAMPION].bundle, found.bundle) else None
        return None


def alike(one: Bundle, other: Bundle) -> bool:
    """Whether two bundles answer the same records with the same classes."""
    settings = one.manifest.task, one.manifest.task_settings, one.manifest.target
    return settings == (other.manifest.task, other.manifest.task_settings, other.manifest.target)


def _stamp(folder: Path) -> tuple[str, str]:
    """Where a bundle really lies, and what it holds."""
    root = bundle_folder(folder.expanduser().resolve())
    return str(root), file_digest(root / CHECKSUMS) if (root / CHECKSUMS).is_file() else ""
