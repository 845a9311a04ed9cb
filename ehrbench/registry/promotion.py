"""Promotion: what is served moves, by one step that others see whole or not at all, or it does not move.

Only an approved version is ever promoted, and only over the champion that it was compared with. Rollback goes
back to the version that was champion before; the one that is left loses its approval, and must pass the gate
again. All that is kept stands in the versions' own tags, so that a call that was cut short can be repeated.
"""

from __future__ import annotations

from datetime import UTC, datetime

from ehrbench.registry.release import (
    AGAINST,
    APPROVED,
    CHALLENGER,
    CHAMPION,
    GATE,
    PROMOTED,
    WITHDRAWN,
    NotApproved,
    Registry,
    Release,
    ReleaseName,
    find,
    pointed,
)

WITHDRAWN_AT = "withdrawn.at"


def promote(registry: Registry, name: ReleaseName, version: str) -> Release:
    """Make an approved version the champion. Raises NotApproved, and moves nothing, for any other."""
    release = find(registry, name, version)
    champion = pointed(registry.releases(name), CHAMPION)
    if champion is not None and champion.version == release.version:
        return release
    check_approved(release)
    against, now = release.tags.get(AGAINST), "none" if champion is None else champion.version
    if against != now:
        raise NotApproved(
            f"{release}: compared with version {against}, and version {now} is champion — gate it again"
        )
    registry.tag(release, {PROMOTED: _now()})
    registry.point(name, CHAMPION, release.version)
    if CHALLENGER in release.aliases:
        registry.drop(name, CHALLENGER)
    return find(registry, name, release.version)


def rollback(registry: Registry, name: ReleaseName) -> Release:
    """Make the champion before this one the champion again. Raises NotApproved where there was none."""
    releases = registry.releases(name)
    champion = find(registry, name, None)
    before = [
        release
        for release in releases
        if release.approved
        and release.version != champion.version
        and "" < release.tags.get(PROMOTED, "") <= champion.tags.get(PROMOTED, "")
    ]
    if not before:
        raise NotApproved(f"{champion}: no champion stood before it — promote another, approved version")
    last = max(before, key=lambda release: (release.tags[PROMOTED], int(release.version)))
    registry.tag(
        champion, {GATE: WITHDRAWN, WITHDRAWN_AT: _now()}
    )  # first: repeated, it goes back no further
    registry.point(name, CHAMPION, last.version)
    return find(registry, name, last.version)


def check_approved(release: Release) -> None:
    """Raise NotApproved unless the gate has approved it, and nobody has withdrawn it since."""
    state = release.tags.get(GATE, "not judged yet")
    if state != APPROVED:
        remedy = f"ehrbench registry gate {release}"
        raise NotApproved(
            f"{release}: is {state}, and only what the gate has approved is promoted — {remedy}"
        )


def deployable(registry: Registry, name: ReleaseName, version: str | None) -> Release:
    """The version named, or the champion; NotApproved for one that is not approved."""
    release = find(registry, name, version)
    check_approved(release)
    return release


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
