"""Members: a bundle's exported models, each with the featurizer it was fitted with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ehrbench.core.bundle import MANIFEST, MEMBERS
from ehrbench.core.errors import BundleError
from ehrbench.core.featurizer import Featurizer
from ehrbench.core.model import Member, load_arrays
from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray
from ehrbench.runtime.opening import build, read_file
from ehrbench.runtime.runners import Device, Runner, open_runner


@dataclass(frozen=True)
class LoadedMember:
    """One exported model with its featurizer."""

    folder: str
    featurizer: Featurizer
    runner: Runner
    target: Target

    def predict(self, records: Records) -> FloatArray:
        """(U, C) probabilities."""
        scores = self.runner.scores(self.featurizer.transform(records))
        expected = (records.total_units, self.target.n_classes)
        if scores.shape != expected:
            raise BundleError(f"{self.folder}: gives scores of shape {scores.shape}, not {expected}")
        if not np.isfinite(scores).all():
            raise BundleError(f"{self.folder}: gives scores that are not finite — export the bundle again")
        return self.target.probabilities(scores)


def load_member(root: Path, folder: str, target: Target, threads: int, device: Device) -> LoadedMember:
    """The member in ``folder``, which must be one of the bundle's own."""
    directory = root / folder
    if Path(folder).parts[:1] != (MEMBERS,) or ".." in Path(folder).parts:
        raise BundleError(f"{root / MANIFEST}: member {folder!r} does not lie under {MEMBERS}/")
    file = directory / "member.json"
    member: Member = read_file(file, lambda path: Member(**json.loads(path.read_text(encoding="utf-8"))))
    featurizer: Featurizer = build(file, member.featurizer, member.settings, "ehrbench.features", Featurizer)
    state = directory / "featurizer.npz"
    read_file(state, lambda path: featurizer.restore(load_arrays(path)))
    runner: Runner = read_file(
        directory, lambda path: open_runner(member.runner, path, threads=threads, device=device)
    )
    return LoadedMember(folder, featurizer, runner, target)
