"""Gating: brings a challenger, its champion and their evidence together, and lets the gate judge.

Evidence is what the configuration names (``data.gate_sets``), or else the outer tests that the two runs left
in their folders, which stay where the data are: the registry keeps no prediction of anybody.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ehrbench.app.composed.blocks import GateData, Gating
from ehrbench.app.composed.checking import checked
from ehrbench.app.composed.conf import CONF
from ehrbench.app.runs.made_by import made_by
from ehrbench.app.runs.scoring import publisher_of
from ehrbench.core.bundle import file_digest
from ehrbench.core.errors import BundleError, ConfigError, check_once
from ehrbench.core.files import CHECKSUMS
from ehrbench.core.progress import Progress
from ehrbench.core.run_folder import BUNDLE
from ehrbench.registry.evidence import Evidence, on_unseen, unseen_by
from ehrbench.registry.gate import Verdict, judge
from ehrbench.registry.release import (
    BUNDLE_FOLDER,
    CERTIFICATE_FILE,
    CHALLENGER,
    CHAMPION,
    DIGEST,
    RUN,
    Registry,
    Release,
    ReleaseName,
    find,
    pointed,
)
from ehrbench.report.compare import check_comparable, scored_alike, share
from ehrbench.report.run import Run, read_run
from ehrbench.runtime.bundle import Bundle
from ehrbench.spine.folds import split_groups
from ehrbench.statistics.fold_data import FoldPredictions

#: Limits and evidence, with the reason for each.
REGISTRY_YAML = CONF / "registry.yaml"


@dataclass(frozen=True)
class Opened:
    """A release whose content is at hand. certificate: of its search, None where it came without."""

    release: Release
    bundle: Bundle
    certificate: Mapping[str, Any] | None


def gating(limits: Path | None, data: Mapping[str, Any]) -> Gating:
    """The gate's configuration: the package's, under a file of one's own, under what ``data`` names."""
    try:
        layers = [OmegaConf.load(REGISTRY_YAML), *([] if limits is None else [OmegaConf.load(limits)])]
        given = {key: value for key, value in data.items() if value is not None}
        content = OmegaConf.to_container(OmegaConf.merge(*layers, {"data": given}), resolve=True)
    except OSError as error:
        raise ConfigError(
            "--limits", f"{limits} cannot be read ({error.strerror})", "name a YAML file"
        ) from error
    except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError, TypeError, ValueError) as error:
        problem = f"{limits} is no YAML of limits ({str(error).splitlines()[0]})"
        raise ConfigError("--limits", problem, f"begin with a copy of {REGISTRY_YAML.name}") from error
    assert isinstance(content, dict)
    whole = {str(key): value for key, value in content.items()}
    settings = checked(Gating, whole, known=f"{REGISTRY_YAML.name} has all keys")
    check_once("data.gate_sets", settings.data.gate_sets)
    return settings


def judge_release(
    registry: Registry, name: ReleaseName, version: str | None, settings: Gating, progress: Progress
) -> tuple[Release, Verdict]:
    """Judge a version, the challenger unless named, and write the verdict into its tags."""
    release = find(registry, name, version, CHALLENGER)
    champion = pointed(registry.releases(name), CHAMPION)
    if champion is not None and champion.version == release.version:
        raise ConfigError("NAME", f"{release} is the champion already", "register a challenger, or name one")
    with tempfile.TemporaryDirectory(prefix="ehrbench-") as folder:
        with progress.step("fetching bundles"):
            new = opened(registry, release, Path(folder) / CHALLENGER)
            old = None if champion is None else opened(registry, champion, Path(folder) / CHAMPION)
        evidence = _evidence(new, old, settings, progress)
        with progress.step("gate"):
            verdict = judge(
                new.bundle,
                None if old is None else old.bundle,
                evidence,
                new.certificate,
                made_by(new.bundle).metric,
                settings.limits,
                "none" if champion is None else champion.version,
            )
    registry.tag(release, verdict.tags())
    return find(registry, name, release.version), verdict


def opened(registry: Registry, release: Release, folder: Path) -> Opened:
    """A release, fetched into ``folder``. Raises BundleError where it is not what was registered."""
    folder.mkdir(parents=True)
    content = registry.fetch(release, folder)
    bundle = Bundle.load(content / BUNDLE_FOLDER)
    if bundle.digest != release.tags.get(DIGEST):
        raise BundleError(
            f"{release}: the registry holds another bundle than was registered — register it again"
        )
    path = content / CERTIFICATE_FILE
    if not path.is_file():
        return Opened(release, bundle, None)
    try:
        certificate = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        certificate = {}  # which no search writes: the gate says so
    return Opened(release, bundle, certificate)


def _evidence(new: Opened, old: Opened | None, settings: Gating, progress: Progress) -> Evidence | str:
    """What there is to judge by, or why there is none."""
    if settings.data.gate_sets:
        return _unseen(new.bundle, None if old is None else old.bundle, settings, progress)
    try:
        return _outer_tests([CHALLENGER, CHAMPION], [new, *([] if old is None else [old])])
    except BundleError as error:
        return str(error)


def _unseen(new: Bundle, old: Bundle | None, settings: Gating, progress: Progress) -> Evidence | str:
    data: GateData = settings.data
    if old is not None and (old.manifest.task, old.task.target) != (new.manifest.task, new.task.target):
        return "the champion is of another task or target: nothing compares the two"
    cohort = publisher_of(new, data).cohort(Path(data.root), data.gate_sets, progress)
    records = unseen_by(cohort.records, new, old)
    new_ones = f"{len(records):,} of {len(cohort.records):,} records are new to both"
    told = f"sets {', '.join(data.gate_sets)}: {new_ones}"
    if len(records) < settings.limits.least_records:
        return f"{told}, fewer than {settings.limits.least_records}"
    with progress.step("predicting"):
        return on_unseen(records, split_groups(records).astype(str), new, old, told)


def _outer_tests(names: list[str], released: list[Opened]) -> Evidence:
    """Outer-test predictions over folds that both runs have. Raises BundleError saying what is amiss."""
    runs = [_run(one) for one in released]
    check_comparable(runs)
    runs = scored_alike(runs)
    shared = share(runs, names[: len(runs)])
    if not shared.whole:
        raise BundleError(
            "the outer tests of the two searches are not of the same folds — name data.gate_sets"
        )
    leaders = {f"{name} · {run.leader}": name for name, run in zip(names, runs, strict=False)}
    folds = tuple(_renamed(fold, leaders) for fold in shared.folds)
    told = f"outer tests, {runs[0].summary['protocol']}: {shared.n_records:,} records"
    return Evidence(told, folds, runs[0].families, runs[0].target)


def _run(one: Opened) -> Run:
    place = one.release.tags.get(RUN, "")
    if not place or not Path(place).is_dir():
        where = (
            f"the run of {one.release} is not at {place}" if place else f"{one.release} came without its run"
        )
        raise BundleError(f"{where} — name data.gate_sets, records that neither has seen")
    if file_digest(Path(place) / BUNDLE / CHECKSUMS) != one.bundle.digest:
        raise BundleError(
            f"{place}: has been searched again since {one.release} was registered — register it anew"
        )
    return read_run(place)


def _renamed(fold: FoldPredictions, leaders: Mapping[str, str]) -> FoldPredictions:
    """The runs' leaders under the names that the gate knows them by."""

    def named(found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {leaders.get(name, name): value for name, value in found.items()}

    return replace(fold, p=named(fold.p), threshold=named(fold.threshold), levels=named(fold.levels))
