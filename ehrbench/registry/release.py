"""Releases: bundles registered under problem, kind and feature set, each with a version.

``mortality/ensemble/all/3`` is the third version of what is served for one problem;
``mortality/ensemble/all`` without a version is the one whose alias is ``champion``. The newest registered one
is the ``challenger``.

A version's tags say what happened to it:

    bundle             SHA-256 of the bundle's checksums, which every download is compared with
    run                folder of its run, where its outer-test predictions lie; none of a bundle alone
    study, task, cohort, created, git_commit
    gate               approved | refused | withdrawn; none: not judged yet
    gate.<check>       JSON of one check: passed, figure, limit, told
    gate.against       the champion's version it was compared with; "none"
    gate.at, promoted.at, withdrawn.at   ISO 8601, UTC
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ehrbench.core.errors import ConfigError, EhrbenchError

CHAMPION, CHALLENGER = "champion", "challenger"
APPROVED, REFUSED, WITHDRAWN = "approved", "refused", "withdrawn"
GATE, AGAINST, PROMOTED = "gate", "gate.against", "promoted.at"
DIGEST, RUN = "bundle", "run"
SEPARATOR = "~"
#: What a registered folder holds: the bundle and, where it came from a run, that one's certificate.
BUNDLE_FOLDER, CERTIFICATE_FILE = "bundle", "certificate.json"


class NotApproved(EhrbenchError):
    """A version that may not be promoted or deployed; the message says why."""

    exit_code = 1


@dataclass(frozen=True)
class ReleaseName:
    """problem/kind/features: letters, digits, ``_``, ``+`` and ``-``, so that each is one part of a path."""

    problem: str
    kind: str
    features: str

    @staticmethod
    def read(text: str) -> tuple[ReleaseName, str | None]:
        """The name and the version of ``problem/kind/features[/version]``. Raises ConfigError."""
        parts = text.strip("/").split("/")
        if len(parts) not in (3, 4) or not all(re.fullmatch(r"[\w+-]+", part, re.ASCII) for part in parts):
            problem = f"{text!r} is no problem/kind/features, with or without /version"
            raise ConfigError(
                "NAME", problem, "for example mortality/ensemble/all, or mortality/ensemble/all/3"
            )
        return ReleaseName(*parts[:3]), parts[3] if len(parts) == 4 else None

    @property
    def registered(self) -> str:
        """The name in the registry, which takes neither slash nor dot."""
        return SEPARATOR.join((self.problem, self.kind, self.features))

    def __str__(self) -> str:
        return f"{self.problem}/{self.kind}/{self.features}"


@dataclass(frozen=True)
class Release:
    """One registered version. aliases: those that point to it now."""

    name: ReleaseName
    version: str
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()

    @property
    def approved(self) -> bool:
        return self.tags.get(GATE) == APPROVED

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


class Registry(Protocol):
    """Keeps releases. Versions count from 1 and are never changed but for their tags and aliases.

    A call that fails raises StorageError, or ConfigError for what there is none of, and has changed nothing;
    moving an alias is one step, which others see whole or not at all.
    """

    def names(self) -> list[ReleaseName]: ...

    def releases(self, name: ReleaseName) -> list[Release]:
        """All versions, the oldest first; none of an unknown name."""
        ...

    def register(self, name: ReleaseName, folder: Path, tags: Mapping[str, str]) -> Release:
        """Keep the content of ``folder`` as the next version."""
        ...

    def fetch(self, release: Release, folder: Path) -> Path:
        """The content of a version, below ``folder``, which is empty."""
        ...

    def tag(self, release: Release, tags: Mapping[str, str]) -> None: ...

    def point(self, name: ReleaseName, alias: str, version: str) -> None:
        """Move an alias, or make it."""
        ...

    def drop(self, name: ReleaseName, alias: str) -> None:
        """Take an alias away, where there is one."""
        ...


def pointed(releases: Sequence[Release], alias: str) -> Release | None:
    """The version that an alias points to."""
    return next((release for release in releases if alias in release.aliases), None)


def find(registry: Registry, name: ReleaseName, version: str | None, alias: str = CHAMPION) -> Release:
    """A version, or the one of an alias; an alias may stand in the version's place. Raises ConfigError."""
    releases = registry.releases(name)
    if not releases:
        known = ", ".join(map(str, registry.names()))
        raise ConfigError("NAME", f"nothing is registered as {name}", f"choose among {known}" * bool(known))
    wanted = version or alias
    found = pointed(releases, wanted) or next((r for r in releases if r.version == wanted), None)
    if found is None:
        has = ", ".join(r.version for r in releases)
        raise ConfigError(
            "NAME", f"{name} has no {wanted}", f"its versions are {has}: name one as {name}/VERSION"
        )
    return found
