"""Inspection: what a bundle says of itself, and in what two bundles differ, as plain data.

Reads what opening has checked; computes nothing but sizes, and the example's probability for a comparison.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ehrbench.core.bundle import CONFIG
from ehrbench.core.errors import BundleError
from ehrbench.core.files import CHECKSUMS
from ehrbench.core.types import FloatArray
from ehrbench.runtime.bundle import Bundle
from ehrbench.runtime.opening import read_file


@dataclass(frozen=True)
class Differing:
    """One thing that two bundles say differently; None: one of them does not say it."""

    what: str
    a: Any
    b: Any


def facts(bundle: Bundle) -> dict[str, Any]:
    """What there is to know of a bundle, JSON-like.

    members: folder, runner, featurizer, bytes, opsets of a graph (domain -> version; {} where not recorded)
    and parity (the largest |Δp| to its model, None where it was never looked at). metrics: {mean, low, high}.
    files: name -> {bytes, sha256}; the checksums' own is the bundle's version.
    """
    manifest, root = bundle.manifest, bundle.directory
    sums = json.loads((root / CHECKSUMS).read_text(encoding="utf-8"))
    files = {name: {"bytes": (root / name).stat().st_size, "sha256": sha} for name, sha in sums.items()}
    return {
        "version": bundle.digest,
        "study_name": manifest.study_name,
        "created": manifest.created,
        "git_commit": manifest.git_commit,
        "seed": manifest.seed,
        "cohort": manifest.cohort,
        "task": manifest.task,
        "task_settings": manifest.task_settings,
        "target": asdict(manifest.target),
        "protocol": manifest.protocol,
        "data_sets": manifest.data_sets,
        "data_digest": manifest.data_digest,
        "training_groups": len(bundle.training_groups),
        "profiled": None if bundle.profile is None else len(bundle.profile.variables),
        "combiner": bundle.ensemble.combiner.name,
        "calibrator": bundle.ensemble.calibrator.name,
        "thresholds": manifest.thresholds,
        "threshold_rule": manifest.threshold_rule,
        "calling": asdict(manifest.calling),
        "metrics": {name: _figures(result) for name, result in manifest.metrics.items()},
        "parity": manifest.parity,
        "quantised": manifest.quantised,
        "members": [_member(bundle, folder) for folders in manifest.models.values() for folder in folders],
        "versions": manifest.versions,
        "bytes": sum(int(file["bytes"]) for file in files.values()),
        "files": files,
    }


def differences(a: Bundle, b: Bundle) -> list[Differing]:
    """What the two say of themselves differently, their configurations included, and of a's example."""
    said = [_flat(facts(one) | {"config": _config(one)}) for one in (a, b)]
    found = [
        Differing(what, said[0].get(what), said[1].get(what))
        for what in dict.fromkeys([*said[0], *said[1]])
        if said[0].get(what) != said[1].get(what)
    ]
    if (a.manifest.task, a.task.target) == (b.manifest.task, b.task.target):
        of_a, of_b = (_of_example(a, one) for one in (a, b))
        if not np.array_equal(of_a, of_b):
            found.append(Differing("probability of the example", of_a.tolist(), of_b.tolist()))
    return found


def _member(bundle: Bundle, folder: str) -> dict[str, Any]:
    path = bundle.directory / folder
    content = json.loads((path / "member.json").read_text(encoding="utf-8"))
    return {
        "folder": folder,
        "runner": content["runner"],
        "featurizer": content["featurizer"],
        "bytes": sum(file.stat().st_size for file in path.iterdir()),
        "opsets": content.get("opsets", {}),
        "parity": bundle.manifest.parity.get("members", {}).get(folder),
    }


def _figures(result: Mapping[str, Any]) -> dict[str, float | None]:
    interval = result.get("interval") or {}
    return {"mean": result.get("mean"), "low": interval.get("low"), "high": interval.get("high")}


def _config(bundle: Bundle) -> Any:
    def read(path: Path) -> Any:
        try:
            return yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise BundleError(f"{path}: is not YAML — export the bundle again") from error

    return read_file(bundle.directory / CONFIG, read)


def _of_example(a: Bundle, one: Bundle) -> FloatArray:
    return one.predict(a.task.parse([a.task.example()], strict=True).records).probabilities


def _flat(content: Any, before: str = "") -> dict[str, Any]:
    """Dotted key -> value; members by their folder."""
    return dict(_flattened(content, before))


def _flattened(content: Any, before: str) -> Iterator[tuple[str, Any]]:
    if isinstance(content, Mapping) and content:
        for key, value in content.items():
            yield from _flattened(value, f"{before}.{key}" if before else str(key))
    elif isinstance(content, list) and content and all(isinstance(one, Mapping) for one in content):
        for number, one in enumerate(content):
            yield from _flattened(one, f"{before}.{one.get('folder', number)}")
    else:
        yield before, content
