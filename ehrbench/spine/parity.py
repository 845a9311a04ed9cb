"""Parity: an exported bundle says what the models say that it was made of, member by member.

Both are asked about the same training records. Compared are the members' probabilities, each in its own
arithmetic (single precision in networks), and the ensemble's before its calibrator, which may be steep. A
bundle that is further off than ``core.bundle.PARITY`` is not written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from ehrbench.core.bundle import PARITY, Manifest
from ehrbench.core.errors import BundleError
from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray
from ehrbench.ensemble import Ensemble
from ehrbench.spine.procedure import ENSEMBLE_NAME


class Running(Protocol):
    """A bundle as it runs on its own, for parity: the spine knows no runtime."""

    def parts(self, records: Records) -> Mapping[str, FloatArray]:
        """Folder of each member -> its probabilities (U, C)."""
        ...

    def predict(self, records: Records) -> Uncalibrated: ...

    def self_test(self) -> float: ...


class Uncalibrated(Protocol):
    @property
    def uncalibrated(self) -> FloatArray: ...


def combined(
    ensemble: Ensemble, parts: Mapping[str, FloatArray], models: Mapping[str, list[str]], target: Target
) -> FloatArray:
    """(U, C) of the ensemble before its calibrator, from its members' probabilities."""
    means = {name: np.mean([parts[f] for f in folders], axis=0) for name, folders in models.items()}
    return ensemble.combiner.predict({name: target.scores(p) for name, p in means.items()})


def check_parity(
    running: Running,
    probe: Records,
    said: Mapping[str, FloatArray],
    ensemble: Ensemble,
    manifest: Manifest,
) -> dict[str, Any]:
    """The manifest's ``parity``; BundleError naming the first member that says something else.

    said: folder of each member -> what its model says of the probe.
    """
    parts = running.parts(probe)
    members = {name: _apart(name, said[name], parts[name]) for name in said}
    expected = combined(ensemble, said, manifest.models, manifest.target)
    whole = _apart(ENSEMBLE_NAME, expected, running.predict(probe).uncalibrated)
    return {"n_records": len(probe), "limit": PARITY, "ensemble": whole, "members": members}


def _apart(name: str, expected: FloatArray, got: FloatArray) -> float:
    """The largest difference; BundleError where it is above ``PARITY``, or no number."""
    apart = float(np.abs(expected - got).max(initial=0.0)) if expected.shape == got.shape else np.inf
    if not apart <= PARITY:
        raise BundleError(
            f"bundle not written: {name}, exported, is up to {apart:.2g} from its model's probabilities, and "
            f"{PARITY:g} is the most — export on the device that the bundle is to run on "
            "(trainer.accelerator=cpu), or leave that model out"
        )
    return apart
