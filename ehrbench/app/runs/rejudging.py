"""Outer tests predicted again, in a process that knows nothing of them.

``python -m ehrbench.app.runs.rejudging`` is that process.

What a page says of a model must be what its exported form says of records alone. So the procedure of an outer
fold is exported as a bundle is, and a process that has fitted nothing, and can open no file but the bundle,
predicts the fold's test records: first some one by one, then all, in another order. They come without labels,
ids, groups, subgroups and flags: as the server gets them, a payload each. What rests on anything else (the
file of outcomes, a flag filled in later, the place in a sorted batch, the other records of a batch, what was
seen before) comes out otherwise.
"""

from __future__ import annotations

import pickle
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ehrbench.app.runs.confinement import OutsideLooked, answer, asked, confine, run_apart
from ehrbench.core.bundle import PARITY
from ehrbench.core.digest import derive_seed
from ehrbench.core.errors import EhrbenchError
from ehrbench.core.model import load_arrays, save_arrays
from ehrbench.core.records import Records
from ehrbench.core.types import FloatArray, IntArray
from ehrbench.runtime.bundle import Bundle
from ehrbench.spine.certificate import NotClean
from ehrbench.spine.procedure import ENSEMBLE_NAME

#: Records that are predicted one by one, and records of a bundle's own that it is asked about.
ALONE, ASKED = 32, 256
#: How far the calibrated ensemble may lie off, its calibrator being steeper than its members.
ENSEMBLE_TOLERANCE = 10 * PARITY

_RECORDS, _SAID = "records.pickle", "said.npz"


@dataclass(frozen=True)
class Rejudged:
    """How many records, how many of them alone as well, and the largest difference from what was judged."""

    records: int
    alone: int
    difference: float


def judge_again(
    bundle: Path, records: Records, judged: Mapping[str, FloatArray], seed: int, what: str
) -> Rejudged:
    """Let a bundle predict records in a process of its own; how it went.

    judged: model or ensemble -> (U, C) of these records, in their order. what: the message's name of it.
    Raises NotClean naming a model and the record whose probability is another; ``changed``: all such.
    """
    rng = np.random.default_rng(derive_seed(seed, "judged again", what))
    order = rng.permutation(len(records))
    with tempfile.TemporaryDirectory(prefix="ehrbench-") as folder:
        place = Path(folder)
        with (place / _RECORDS).open("wb") as file:  # ours, for our own process, and gone with it
            pickle.dump(_nameless(records.take(order)), file)
        alone = min(ALONE, len(records))
        request = {"bundle": str(bundle), "alone": alone, "what": what}
        try:
            said = load_arrays(run_apart(__name__, request, place) / _SAID)
        except OutsideLooked as error:
            raise NotClean(str(error)) from error
    differing = {}
    largest = 0.0
    for name, p in said.items():
        how, model = name.split("/", 1)
        expected = judged[model][records.units_of(order)][: len(p)]
        apart = np.abs(p - expected).max(axis=1, initial=0.0)
        largest = max(largest, float(apart.max(initial=0.0)))
        if not (apart <= (ENSEMBLE_TOLERANCE if model == ENSEMBLE_NAME else PARITY)).all():
            u, c = np.unravel_index(np.argmax(np.abs(p - expected)), p.shape)
            record = records.ids[order][np.repeat(np.arange(len(order)), records.n_units[order])[u]]
            differing[model] = (
                f"{model} was judged by {expected[u, c]:.4f} for record {record}, and its exported form "
                f"says {p[u, c]:.4f} {_HOW[how]}"
            )
    if differing:
        raise NotClean(
            f"{what}: {next(iter(differing.values()))} — the prediction rests on something beside the "
            "record: outcomes, other records, what was seen before",
            tuple(differing),
        )
    return Rejudged(len(records), alone, largest)


_HOW = {"alone": "of it alone", "together": "of it among the others, in another order"}


def _nameless(records: Records) -> Records:
    """Payloads and units alone: what tells one record from another is its content."""
    numbers = np.array([str(number) for number in range(len(records))])
    return replace(
        records.without_labels(), ids=numbers, groups=numbers, subgroups={}, flags={}, _origin=None
    )


def some_of(records: IntArray, seed: int) -> IntArray:
    """At most ``ASKED`` of these positions."""
    rng = np.random.default_rng(derive_seed(seed, "asked again"))
    return np.sort(rng.permutation(records)[:ASKED])


def _work(place: Path) -> None:
    request = asked(place)
    bundle_folder = Path(request["bundle"])
    looked = confine(place, [bundle_folder])
    try:
        bundle = Bundle.load(bundle_folder)
        with (place / _RECORDS).open("rb") as file:
            records: Records = pickle.load(file)  # ours: see above
        alone = [_said(bundle, records.take(np.array([n]))) for n in range(request["alone"])]
        found = {f"together/{name}": p for name, p in _said(bundle, records).items()}
        for name in alone[0] if alone else ():
            found[f"alone/{name}"] = np.concatenate([one[name] for one in alone])
        save_arrays(place / "answer" / _SAID, found)
    finally:  # also where a model has swallowed the refusal
        answer(place, looked, f"{request['what']}: a prediction")


def _said(bundle: Bundle, records: Records) -> dict[str, FloatArray]:
    prediction = bundle.predict(records)
    return {**prediction.by_model, ENSEMBLE_NAME: prediction.probabilities}


if __name__ == "__main__":
    try:
        _work(Path(sys.argv[1]))
    except EhrbenchError as error:
        sys.exit(str(error))
