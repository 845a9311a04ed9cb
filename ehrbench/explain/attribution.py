"""Attribution: a fitted model's scores split into additive parts, one for each source, for each unit.

Trees by TreeSHAP (Lundberg et al. 2020, "From local explanations to global understanding with explainable AI
for trees", algorithm 2, as LightGBM computes it: against the mean over the training records as the trees
hold them), networks by integrated gradients (``gradients``), linear models by coefficient times input. All
in units of the score, which is log-odds. A tree's column that is missing for a unit counts as missingness
for that unit, whatever the column.
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

import numpy as np

from ehrbench.core import views
from ehrbench.core.model import Model, load_arrays
from ehrbench.core.records import Records
from ehrbench.core.types import FloatArray, IntArray
from ehrbench.explain.payloads import Steps
from ehrbench.explain.sources import Source, sources
from ehrbench.features.pictures import REGIONS, region
from ehrbench.models.logistic import Logistic

if TYPE_CHECKING:
    import lightgbm

    from ehrbench.models.lightgbm import LightGBM
    from ehrbench.models.network import NetworkModel

#: Where the parts of a table's columns are counted from.
CENTRE = "from a record at the training centre"


class Unexplained(Exception):
    """This model cannot be attributed; the message says why."""


@dataclass(frozen=True)
class Attribution:
    """Parts of the scores of U units and C classes.

    by_hour: the share of ``parts`` that belongs to an hour of the record, where the view has times.
    gap: largest absolute difference between a score and the sum of its parts and base; what the method's
        arithmetic leaves over.
    """

    method: str
    parts: Mapping[Source, FloatArray]  # (U, C)
    gap: float
    by_hour: Mapping[Source, FloatArray] = field(default_factory=dict)  # (U, C, H)


def attribute(model: Model, records: Records, times: Steps, units: IntArray | None = None) -> Attribution:
    """The attribution of one fitted model; of these units (positions among all), None: of all.

    Raises Unexplained.
    """
    if not (isinstance(model, Logistic) or _is_network(model) or is_trees(model)):
        raise Unexplained(f"there is no attribution for a {type(model).__name__}")
    view = model.featurizer.transform(records)
    if _is_network(model) and isinstance(view, views.Image):
        return _image_network(model, view)
    if not (named := sources(view)):
        raise Unexplained(f"its {type(view).__name__} does not name its columns")
    if view.per == "record":
        raise Unexplained("it reads records whole, and its units have no rows of their own to be taken apart")
    if units is not None:
        view = view.take(units)  # of a view that names its columns an item is a unit
    if _is_network(model):
        return _network(model, view, named, times)
    values = view.arrays()["values"]
    if isinstance(model, Logistic):
        method = f"coefficient × input, {CENTRE}"
        parts, gap = values[:, None, :] * _coefficient(model).T, 0.0  # (U, C, F)
    else:
        assert is_trees(model)
        method = "TreeSHAP, against the mean training record"
        parts, gap = tree_shap(model, values)
    return Attribution(method, by_source(parts, values, named["values"]), gap)


# Asked without importing them: a search of other models need not wait for torch, nor have LightGBM installed.
def _is_network(model: Model) -> TypeGuard[NetworkModel]:
    return isinstance(model, getattr(sys.modules.get("ehrbench.models.network"), "NetworkModel", ()))


def is_trees(model: Model) -> TypeGuard[LightGBM]:
    return isinstance(model, getattr(sys.modules.get("ehrbench.models.lightgbm"), "LightGBM", ()))


def mean(attributions: Sequence[Attribution]) -> Attribution:
    """Of a chosen trial's models, whose mean predicts; a source that one lacks is 0 there."""
    n = len(attributions)

    def averaged(tables: Sequence[Mapping[Source, FloatArray]]) -> dict[Source, FloatArray]:
        names = dict.fromkeys(name for table in tables for name in table)
        return {name: np.sum([t[name] for t in tables if name in t], axis=0) / n for name in names}

    return Attribution(
        attributions[0].method,
        averaged([a.parts for a in attributions]),
        max(a.gap for a in attributions),
        averaged([a.by_hour for a in attributions]),
    )


def boosters_of(model: LightGBM) -> list[lightgbm.Booster]:
    """One, or one a class."""
    import lightgbm

    with tempfile.TemporaryDirectory(prefix="ehrbench-") as folder:
        model.export(Path(folder))
        files = sorted(Path(folder).glob("model*.txt"), key=lambda path: (len(path.name), path.name))
        return [lightgbm.Booster(model_file=file) for file in files]


def tree_shap(model: LightGBM, values: FloatArray) -> tuple[FloatArray, float]:
    """(U, C, F) Shapley values of the raw scores, and the gap to these."""
    from ehrbench.models.lightgbm import raw_scores

    boosters = boosters_of(model)
    n, f = values.shape
    found = [
        np.asarray(b.predict(values, pred_contrib=True, num_threads=model.threads)).reshape(n, -1, f + 1)
        for b in boosters
    ]
    parts = np.concatenate(found, axis=1)  # (U, C, F + 1), the base last
    gap = np.abs(parts.sum(axis=2) - raw_scores(boosters, values, model.threads)).max(initial=0)
    return parts[:, :, :-1], float(gap)


def by_source(parts: FloatArray, values: FloatArray, named: Sequence[Source]) -> dict[Source, FloatArray]:
    """Parts (U, C, F) of a table's columns summed by source; a missing cell is missingness."""
    total: dict[Source, FloatArray] = defaultdict(lambda: np.zeros(parts.shape[:2]))
    missing = np.isnan(values)
    for f, one in enumerate(named):
        hole = missing[:, None, f]  # (U, 1)
        if one.kind == "missingness" or hole.any():
            absent = parts[:, :, f] if one.kind == "missingness" else parts[:, :, f] * hole
            total[Source(one.parameter, "missingness")] += absent
        if one.kind == "value":
            total[one] += parts[:, :, f] * ~hole
    return dict(total)


def _network(
    model: NetworkModel, view: views.View, named: Mapping[str, tuple[Source, ...]], times: Steps
) -> Attribution:
    from ehrbench.explain.gradients import integrated_gradients
    from ehrbench.models.session import threads

    arrays = view.arrays()
    if any(np.isnan(array).any() for array in arrays.values()):
        raise Unexplained("its view holds missing values, along which there is no path")
    with threads(model.threads):
        found, gap = integrated_gradients(model.fitted_network, arrays, named)
    total: dict[Source, FloatArray] = defaultdict(lambda: np.zeros(gap.shape))
    hourly: dict[Source, FloatArray] = defaultdict(lambda: np.zeros((*gap.shape, times.n)))
    start = CENTRE
    if isinstance(view, views.Sequence):
        start = "from a record with nothing measured"
        step = np.ceil(view.time_hours / times.hours).astype(np.int64)
        step = np.clip(step, 1, max(times.n, 1)) - 1  # (U, L)
        of_hour = (step[..., None] == np.arange(times.n)).astype(np.float32)  # (U, L, H)
    for name, parts in found.items():
        timed = parts.ndim == 4  # (U, C, L, F)
        whole = parts.sum(axis=2) if timed else parts
        spread = np.einsum("uclf,ulh->fuch", parts, of_hour) if timed else None
        for f, one in enumerate(named[name]):
            total[one] += whole[..., f]
            if spread is not None:
                hourly[one] += spread[f]
    return Attribution(
        f"integrated gradients, {start}", dict(total), float(np.abs(gap).max(initial=0)), dict(hourly)
    )


def _image_network(model: NetworkModel, view: views.Image) -> Attribution:
    """By region of the image; several images of a unit share its score."""
    from ehrbench.explain.saliency import pixel_saliency
    from ehrbench.models.session import threads

    with threads(model.threads):
        pixels, gap = pixel_saliency(model.fitted_network, view.arrays()["pixels"])
    starts = views.offsets(view.n_images)[:-1]
    shares = view.n_images[:, None]
    parts = {}
    for number, name in enumerate(REGIONS):
        rows, columns = region(number, *pixels.shape[2:])
        of_image = pixels[:, :, rows, columns].sum((2, 3))  # (V, C)
        parts[Source(name, "value")] = np.add.reduceat(of_image, starts, axis=0) / shares
    left = np.add.reduceat(gap, starts, axis=0) / shares
    method = "integrated gradients, from an image of its mean grey"
    return Attribution(method, parts, float(np.abs(left).max(initial=0)))


def _coefficient(model: Logistic) -> FloatArray:
    """(F, C)"""
    with tempfile.TemporaryDirectory(prefix="ehrbench-") as folder:
        model.save(Path(folder))
        return load_arrays(Path(folder) / "model.npz")["coefficient"]
